{%- set touched = [{'by': 'int_touched_meter', 'key': ['device_id', 'metric'], 'at': 'end_utc'}] -%}
{%- set kept = {'at': 'end_utc', 'from': ['stg_sensor_readings']} -%}
{{ config(materialized='incremental', incremental_strategy='touched', meta={'touched': touched, 'kept': kept}) }}
with readings as (

    select
        *,
        row_number() over (partition by device_id, metric, event_time_utc order by event_id) as copy
    from {{ ref('stg_sensor_readings') }} as reading
    where
        kind = 'reading'
        and metric in ('power', 'energy', 'water')
        {%- if goes_on() %}
        and event_date >= (select cast(min(read_from_utc) as date) from {{ ref('int_touched_meter') }})
        and exists (
            select 1
            from {{ ref('int_touched_meter') }} as touched
            where
                touched.device_id = reading.device_id
                and touched.metric = reading.metric
                and reading.event_time_utc >= touched.read_from_utc
                and reading.event_time_utc <= touched.to_utc
        )
        {%- endif %}

),

neighbours as (

    {%- set in_order %}over (partition by device_id, metric order by event_time_utc){% endset %}

    select
        *,
        lag(value) {{ in_order }} as before_value,
        lag(event_time_utc) {{ in_order }} as before_utc,
        lag(value, 2) {{ in_order }} as earlier_value,
        lag(event_time_utc, 2) {{ in_order }} as earlier_utc,
        lead(value) {{ in_order }} as after_value,
        lead(event_time_utc) {{ in_order }} as after_utc
    from readings
    where copy = 1

),

-- A count that does not go on from the one before is another meter's only if the next one goes on from it; else it was
-- misread. Of the newest nobody can tell yet.
sound as (

    select *
    from neighbours
    where
        metric = 'power'
        or before_utc is null
        or {{ count_goes_on('metric', 'before_value', 'before_utc', 'value', 'event_time_utc') }}
        -- The way back from one misreading.
        or (
            earlier_utc is not null
            and {{ count_goes_on('metric', 'earlier_value', 'earlier_utc', 'value', 'event_time_utc') }}
        )
        or (
            after_utc is not null
            and not {{ count_goes_on('metric', 'before_value', 'before_utc', 'after_value', 'after_utc') }}
            and {{ count_goes_on('metric', 'value', 'event_time_utc', 'after_value', 'after_utc') }}
        )

),

steps as (

    select
        store_id,
        asset_id,
        asset_class,
        device_id,
        metric,
        lag(event_time_utc) {{ in_order }} as begin_utc,
        event_time_utc as end_utc,
        lag(value) {{ in_order }} as begin_value,
        value as end_value
    from sound

),

judged as (

    select
        steps.*,
        {{ seconds_between('steps.begin_utc', 'steps.end_utc') }} as seconds,
        case
            when steps.metric = 'power' then false
            else not {{ count_goes_on('steps.metric', 'steps.begin_value', 'steps.begin_utc', 'steps.end_value', 'steps.end_utc') }}
        end as is_reset,
        {{ seconds_between('steps.begin_utc', 'steps.end_utc') }}
            <= greatest({{ var('meter_gap_minutes') }} * 60, 1.5 * coalesce(device.interval_s, 0)) as is_joined
    from steps
    left join {{ ref('int_device') }} as device
        on steps.asset_id = device.asset_id
        and steps.device_id = device.device_id
        and steps.metric = device.metric
        and {{ valid_at('device', 'steps.end_utc') }}
    where steps.begin_utc is not null

)

select
    store_id,
    asset_id,
    asset_class,
    device_id,
    metric,
    begin_utc,
    end_utc,
    seconds,
    is_reset,
    is_joined,
    case
        when is_reset then null
        when metric <> 'power' then end_value - begin_value
        when is_joined then cast(round((begin_value + end_value) * seconds / 7200.0, 6) as decimal(18, 6))
    end as amount
from judged
where {{ is_touched(touched, 'judged') }}
