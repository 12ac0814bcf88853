-- By new detections, and by new versions of their store.
{%- set known_by = [('fct_zone_traffic_hour', 'hour_start_utc'), ('fct_queue_minute', 'minute_utc')] %}
with hours as (

    select distinct store_id, zone_id, date_trunc('hour', event_time_utc) as hour_utc
    from {{ ref('stg_cv_detections') }} as seen
    where {{ is_new('stg_cv_detections', 'seen') }}
        {{- ' and false' if refreshes() }}

    {%- for name, at in known_by %}
    {%- set known = as_it_was(name) %}
    {%- if known and not refreshes() %}
    {%- for minutes in [0, 59] %}

    union

    select known.store_id, known.zone_id, date_trunc('hour', {{ dbt.dateadd('minute', minutes, 'known.' ~ at) }})
    from {{ known }} as known
    inner join {{ ref('int_changed_version') }} as version
        on known.store_id = version.store_id
        and {{ near('version', 'known.' ~ at) }}
    where version.dimension = 'store'
    {%- endfor %}
    {%- endif %}
    {%- endfor %}

)

select
    store_id,
    zone_id,
    hour_utc,
    {{ local_hours_of('hour_utc') }}
from hours
