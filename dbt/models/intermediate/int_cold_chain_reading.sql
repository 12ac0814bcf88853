{%- set touched = [{'by': 'int_touched_case', 'key': ['asset_id'], 'at': 'event_time_utc'}] -%}
{%- set kept = {'at': 'event_time_utc', 'from': ['stg_sensor_readings']} -%}
{{ config(materialized='incremental', incremental_strategy='touched', meta={'touched': touched, 'kept': kept}) }}
with readings as (

    select
        reading.*,
        -- Portable "last value so far": while it defrosts, a case reports so every few minutes.
        max(case when reading.metric = 'defrost' and reading.value >= 0.5 then reading.event_time_utc end) over (
            partition by reading.asset_id
            order by reading.event_time_utc, reading.metric, reading.event_id
            rows between unbounded preceding and current row
        ) as last_defrost_utc
    from {{ ref('stg_sensor_readings') }} as reading
    where
        reading.kind = 'reading'
        and reading.metric in ('temperature', 'defrost')
        and reading.asset_class in {{ cold_chain_classes() }}
        {%- if goes_on() %}
        and reading.event_date in (
            {{ touched_days('int_touched_case', from='read_from_utc', to='read_to_utc') }}
        )
        and exists (
            select 1
            from {{ ref('int_touched_case') }} as touched
            where
                touched.asset_id = reading.asset_id
                and reading.event_time_utc >= touched.read_from_utc
                and reading.event_time_utc < touched.read_to_utc
        )
        {%- endif %}

),

temperatures as (

    select
        *,
        lead(event_time_utc) over (partition by asset_id, device_id order by event_time_utc, event_id) as next_time_utc
    from readings
    where metric = 'temperature'

),

placed as (

    select
        temperatures.*,
        -- A device that no asset names.
        coalesce(device.interval_s, {{ var('unknown_interval_s') }}) as interval_s,
        store.time_zone,
        {{ cold_chain_limit_c('temperatures.asset_class') }} as limit_c
    from temperatures
    left join {{ ref('int_device') }} as device
        on temperatures.asset_id = device.asset_id
        and temperatures.device_id = device.device_id
        and temperatures.metric = device.metric
        and {{ valid_at('device', 'temperatures.event_time_utc') }}
    left join {{ ref('dim_store') }} as store
        on temperatures.store_id = store.store_id
        and {{ valid_at('store', 'temperatures.event_time_utc') }}

)

select
    event_id,
    event_time_utc,
    store_id,
    asset_id,
    asset_class,
    device_id,
    time_zone,
    {{ business_time('event_time_utc', 'time_zone') }},
    {{ day_end_utc(local_date('event_time_utc', 'time_zone'), 'time_zone') }} as day_end_utc,
    value as temperature_c,
    limit_c,
    value > limit_c as is_above_limit,
    coalesce(
        event_time_utc <= {{ dbt.dateadd('minute', var('defrost_recovery_minutes'), 'last_defrost_utc') }}, false
    ) as is_defrost,
    -- A reading stands until the next one; the last one for one interval; a gap is not monitored time.
    case
        when next_time_utc is null then {{ dbt.dateadd('second', 'interval_s', 'event_time_utc') }}
        else least(
            next_time_utc,
            {{ dbt.dateadd('second', 'interval_s * ' ~ var('reading_stands_intervals'), 'event_time_utc') }}
        )
    end as stands_until_utc
from placed
where {{ is_touched(touched, 'placed') }}
