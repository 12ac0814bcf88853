{%- set touched = [{'by': 'int_touched_store', 'key': ['store_id']}] -%}
{{ config(materialized='incremental', incremental_strategy='touched', meta={'touched': touched, 'kept': {'all': true}}) }}
{%- set before = before_refresh() %}
-- The span that a store's data covers is told by the log's clock (arrival), which no device's clock can bend.
-- Only history that was loaded long after it happened is told by its own event time.
with happened as (

    select
        store_id,
        event_time_utc as first_event_utc,
        event_time_utc as last_event_utc,
        case
            when {{ seconds_between('event_time_utc', 'arrived_at_utc') }} > 86400 then event_time_utc
            else arrived_at_utc
        end as first_logged_utc,
        case
            when {{ seconds_between('event_time_utc', 'arrived_at_utc') }} > 86400 then event_time_utc
            else arrived_at_utc
        end as last_logged_utc
    from {{ ref('stg_sensor_readings') }} as reading
    {%- if goes_on() %}
    where {{ is_new('stg_sensor_readings', 'reading') }}
    {%- endif %}

    union all

    select
        store_id,
        event_time_utc,
        event_time_utc,
        {{ instant('null') }},
        {{ instant('null') }}
    from {{ ref('stg_cv_detections') }} as seen
    {%- if goes_on() %}
    where {{ is_new('stg_cv_detections', 'seen') }}

    union all

    select known.store_id, known.first_event_utc, known.last_event_utc, known.first_logged_utc, known.last_logged_utc
    from {{ this }} as known
    where {{ is_touched(touched, 'known') }}
    {%- endif %}
    {%- if before %}

    union all

    select store_id, first_event_utc, last_event_utc, first_logged_utc, last_logged_utc
    from {{ before }}
    {%- endif %}

)

select
    store_id,
    min(first_event_utc) as first_event_utc,
    max(last_event_utc) as last_event_utc,
    min(first_logged_utc) as first_logged_utc,
    max(last_logged_utc) as last_logged_utc
from happened
group by store_id
