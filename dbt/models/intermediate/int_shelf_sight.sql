{%- set touched = [{'by': 'int_touched_facing', 'key': ['store_id', 'asset_id'], 'at': 'event_time_utc'}] -%}
{%- set kept = {'at': 'event_time_utc', 'from': ['stg_cv_detections']} -%}
{{ config(materialized='incremental', incremental_strategy='touched', meta={'touched': touched, 'kept': kept}) }}
-- From what cameras saw, not from the job's facing_empty and facing_low: those are the same sights, but only while the
-- job ran, and only of facings that it had been told of.
with sights as (

    select
        seen.*,
        case when coalesce(seen.seen_count, 1) = 0 then 0 else 1 end as is_so
    from {{ ref('stg_cv_detections') }} as seen
    where
        seen.zone_kind = 'facing'
        and seen.asset_id is not null
        and seen.seen in ('empty_facing', 'low_facing', 'item')
        {%- if goes_on() %}
        and seen.event_date >= (select cast(min(from_utc) as date) from {{ ref('int_touched_facing') }})
        and exists (
            select 1
            from {{ ref('int_touched_facing') }} as touched
            where
                touched.store_id = seen.store_id
                and touched.asset_id = seen.asset_id
                and seen.event_time_utc >= touched.from_utc
                and seen.event_time_utc <= touched.to_utc
        )
        {%- endif %}

),

-- `seen` says what the model looked for; a count of 0, that it is not so. A facing that is not empty may be low still.
states as (

    select
        store_id,
        asset_id,
        event_id,
        event_time_utc,
        case seen when 'empty_facing' then is_so when 'item' then 1 - is_so else 0 end as is_empty,
        case
            when seen = 'low_facing' then is_so
            when seen = 'item' then 1 - is_so
            when is_so = 1 then 1
        end as is_low
    from sights

),

-- What was known of its being low goes on from the sight before the span.
carried as (

    select states.*, states.is_low is not null as says_low, {% if goes_on() %}coalesce(states.is_low, known.is_low){% else %}states.is_low{% endif %} as low_so_far
    from states
    {%- if goes_on() %}
    left join {{ ref('int_touched_facing') }} as touched
        on states.store_id = touched.store_id
        and states.asset_id = touched.asset_id
        and states.event_time_utc = touched.from_utc
    left join {{ this }} as known
        on states.event_id = known.event_id
        and states.event_time_utc = known.event_time_utc
        and touched.asset_id is not null
    {%- endif %}

),

followed as (

    {%- set in_order %}over (partition by store_id, asset_id order by event_time_utc, event_id{% endset %}

    select
        *,
        count(low_so_far) {{ in_order }} rows between unbounded preceding and current row) as low_told,
        lead(event_time_utc) {{ in_order }}) as next_time_utc
    from carried

),

lows as (

    select
        *,
        -- Portable "last value so far".
        max(low_so_far) over (partition by store_id, asset_id, low_told) as is_known_low
    from followed

)

select
    store_id,
    asset_id,
    event_id,
    event_time_utc,
    is_empty,
    coalesce(is_known_low, 0) as is_low,
    says_low,
    -- The newest sight stands for nothing until the next one comes.
    case
        when next_time_utc is null then event_time_utc
        else least(next_time_utc, {{ dbt.dateadd('minute', var('facing_stands_minutes'), 'event_time_utc') }})
    end as stands_until_utc
from lows
where {{ is_touched(touched, 'lows') }}
