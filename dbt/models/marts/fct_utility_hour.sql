{%- set touched = [
    {'by': 'int_touched_meter', 'key': ['device_id', 'metric'], 'at': 'hour_start_utc', 'from': 'hours_from_utc'},
] -%}
{%- set kept = {'at': 'hour_start_utc', 'from': ['stg_sensor_readings', 'stg_derived_metrics']} -%}
{{ config(materialized='incremental', incremental_strategy='touched', meta={'touched': touched, 'kept': kept}) }}
with steps as (

    select
        step.*,
        store.time_zone,
        {{ hour_start_utc('step.begin_utc', 'store.time_zone') }} as first_hour_utc
    from {{ ref('int_meter_step') }} as step
    left join {{ ref('dim_store') }} as store
        on step.store_id = store.store_id
        and {{ valid_at('store', 'step.begin_utc') }}
    {%- if goes_on() %}
    where exists (
        select 1
        from {{ ref('int_touched_meter') }} as touched
        where
            touched.device_id = step.device_id
            and touched.metric = step.metric
            and step.end_utc >= touched.hours_from_utc
            and step.begin_utc < {{ dbt.dateadd('hour', 1, 'touched.to_utc') }}
    )
    {%- endif %}

),

counted as (

    select
        *,
        cast(ceil({{ seconds_between('first_hour_utc', 'end_utc') }} / 3600.0) as integer) as hours_touched
    from steps

),

-- Enough hours for a gap of two years, which is as long as readings are kept.
numbers as (

    select cast(generated_number - 1 as integer) as n
    from ({{ dbt.generate_series(24 * 366 * 2) }}) as series

),

-- Every step, cut at the local hours.
pieces as (

    select
        counted.*,
        {{ dbt.dateadd('hour', 'numbers.n', 'counted.first_hour_utc') }} as hour_start_utc,
        greatest(counted.begin_utc, {{ dbt.dateadd('hour', 'numbers.n', 'counted.first_hour_utc') }}) as from_utc,
        least(counted.end_utc, {{ dbt.dateadd('hour', 'numbers.n + 1', 'counted.first_hour_utc') }}) as to_utc
    from counted
    inner join numbers on numbers.n < counted.hours_touched

),

dated as (

    select
        *,
        {{ business_time('hour_start_utc', 'time_zone') }},
        {{ seconds_between('from_utc', 'to_utc') }} as piece_s
    from pieces
    where {{ is_touched(touched, 'pieces') }}

),

opened as (

    select
        dated.device_id,
        dated.metric,
        dated.from_utc,
        sum({{ seconds_in_both('dated.from_utc', 'dated.to_utc', 'span.opens_utc', 'span.closes_utc') }}) as open_s
    from dated
    inner join {{ ref('int_open_span') }} as span
        on dated.store_id = span.store_id
        and dated.business_date = span.business_date
    group by dated.device_id, dated.metric, dated.from_utc

),

summed as (

    select
        dated.store_id,
        dated.asset_id,
        max(dated.asset_class) as asset_class,
        dated.device_id,
        dated.metric,
        dated.hour_start_utc,
        dated.business_date,
        dated.local_hour,
        sum({{ part_of_amount('dated.amount', 'dated.piece_s', 'dated.seconds') }}) as used,
        sum({{ part_of_amount('dated.amount', 'dated.piece_s - coalesce(opened.open_s, 0)', 'dated.seconds') }})
            as used_out_of_hours,
        sum(case when not dated.is_joined then {{ part_of_amount('dated.amount', 'dated.piece_s', 'dated.seconds') }} end)
            as used_spread,
        sum(case when dated.is_joined and dated.amount is not null then dated.piece_s else 0 end) as measured_s,
        sum(case when dated.is_reset and dated.to_utc = dated.end_utc then 1 else 0 end) as resets
    from dated
    left join opened
        on dated.device_id = opened.device_id
        and dated.metric = opened.metric
        and dated.from_utc = opened.from_utc
    group by
        dated.store_id,
        dated.asset_id,
        dated.device_id,
        dated.metric,
        dated.hour_start_utc,
        dated.business_date,
        dated.local_hour

),

hours_open as (

    {{ seconds_open('summed') }}

),

-- What the streaming job told of the closed hour that ended then; it belongs to the local hour that it ended in.
told as (

    select
        metric.asset_id,
        case metric.metric when 'out_of_hours_power' then 'power' else 'water' end as metric,
        {{ hour_start_utc(dbt.dateadd('second', -1, 'metric.event_time_utc'), 'store.time_zone') }} as hour_start_utc,
        max(metric.value) as value_max
    from {{ ref('stg_derived_metrics') }} as metric
    left join {{ ref('dim_store') }} as store
        on metric.store_id = store.store_id
        and {{ valid_at('store', 'metric.event_time_utc') }}
    where
        metric.metric in ('out_of_hours_power', 'out_of_hours_water')
        and metric.asset_id in (select asset_id from summed)
    group by metric.asset_id, metric.metric, {{ hour_start_utc(dbt.dateadd('second', -1, 'metric.event_time_utc'), 'store.time_zone') }}

)

select
    summed.store_id,
    summed.asset_id,
    summed.asset_class,
    summed.device_id,
    summed.metric,
    summed.hour_start_utc,
    summed.business_date,
    summed.local_hour,
    case summed.metric when 'water' then 'm3' else 'kW.h' end as unit,
    cast(summed.used as decimal(18, 6)) as used,
    cast(summed.used_out_of_hours as decimal(18, 6)) as used_out_of_hours,
    cast(coalesce(summed.used_spread, 0) as decimal(18, 6)) as used_spread,
    {{ minutes('summed.measured_s') }} as minutes_measured,
    {{ minutes('greatest(3600 - coalesce(hours_open.open_s, 0), 0)') }} as minutes_closed,
    cast(summed.resets as bigint) as resets,
    cast(coalesce(said.readings, 0) as bigint) as readings,
    cast(coalesce(said.bad_readings, 0) as bigint) as bad_readings,
    case when summed.metric = 'power' then said.value_max end as power_max_kw,
    told.value_max as told_out_of_hours_max
from summed
left join hours_open
    on summed.store_id = hours_open.store_id
    and summed.hour_start_utc = hours_open.hour_start_utc
left join {{ ref('fct_sensor_hour') }} as said
    on summed.store_id = said.store_id
    and summed.asset_id = said.asset_id
    and summed.device_id = said.device_id
    and summed.metric = said.metric
    and summed.hour_start_utc = said.hour_start_utc
left join told
    on summed.asset_id = told.asset_id
    and summed.metric = told.metric
    and summed.hour_start_utc = told.hour_start_utc
