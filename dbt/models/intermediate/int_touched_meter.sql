-- One span for each meter, from what is touched first to what is touched last. A count is judged by the two readings before
-- it and the one after it, so a span begins with the third step before, and the fourth step after it stays as it is.
-- Steps that end from from_utc to to_utc (not included) are made anew from readings from read_from_utc to to_utc (included);
-- they reach into hours from hours_from_utc on.
{%- set known_steps = as_it_was('int_meter_step') %}
{%- set known_hours = as_it_was('fct_utility_hour') %}
with touched as (

    select device_id, metric, hour_utc as first_utc, {{ dbt.dateadd('hour', 1, 'hour_utc') }} as last_utc
    from {{ ref('int_touched_reading') }}
    where metric in ('power', 'energy', 'water')

    {%- if known_steps and known_hours and not refreshes() %}

    union all

    -- What the streaming job told of a closed hour.
    select hour.device_id, hour.metric, hour.hour_start_utc, {{ dbt.dateadd('hour', 1, 'hour.hour_start_utc') }}
    from {{ known_hours }} as hour
    inner join {{ ref('stg_derived_metrics') }} as told
        on hour.asset_id = told.asset_id
        and hour.metric = case told.metric when 'out_of_hours_power' then 'power' else 'water' end
        and hour.hour_start_utc > {{ dbt.dateadd('hour', -2, 'told.event_time_utc') }}
        and hour.hour_start_utc <= told.event_time_utc
    where
        told.metric in ('out_of_hours_power', 'out_of_hours_water')
        and {{ is_new('stg_derived_metrics', 'told') }}

    union all

    select hour.device_id, hour.metric, hour.hour_start_utc, {{ dbt.dateadd('hour', 1, 'hour.hour_start_utc') }}
    from {{ known_hours }} as hour
    inner join {{ ref('int_changed_version') }} as version
        on hour.store_id = version.store_id
        and {{ near('version', 'hour.hour_start_utc') }}
    where version.dimension = 'store'
    {%- endif %}

),

spans as (

    select device_id, metric, min(first_utc) as first_utc, max(last_utc) as last_utc
    from touched
    group by device_id, metric

)

{%- if known_steps and known_hours and not refreshes() %},

numbered as (

    select
        spans.device_id,
        spans.metric,
        step.begin_utc,
        step.end_utc,
        case when step.end_utc < spans.first_utc then 1 else 0 end as is_before,
        row_number() over (
            partition by spans.device_id, spans.metric, case when step.end_utc < spans.first_utc then 1 else 0 end
            order by case when step.end_utc < spans.first_utc then {{ seconds_between('step.end_utc', 'spans.first_utc') }} end, step.end_utc
        ) as n
    from spans
    inner join {{ known_steps }} as step
        on spans.device_id = step.device_id
        and spans.metric = step.metric
    where step.end_utc < spans.first_utc or step.end_utc >= spans.last_utc

),

edges as (

    select
        device_id,
        metric,
        max(case when is_before = 1 and n = 1 then end_utc end) as from_utc,
        max(case when is_before = 1 and n = 1 then begin_utc end) as hours_from_utc,
        max(case when is_before = 1 and n = 3 then begin_utc end) as read_from_utc,
        max(case when is_before = 0 and n = 4 then end_utc end) as to_utc
    from numbered
    where n <= 4
    group by device_id, metric

)
{%- endif %}

select
    spans.device_id,
    spans.metric,
    {%- if known_steps and known_hours and not refreshes() %}
    case when edges.read_from_utc is null then {{ time_begins() }} else edges.from_utc end as from_utc,
    coalesce(edges.to_utc, {{ time_ends() }}) as to_utc,
    coalesce(edges.read_from_utc, {{ time_begins() }}) as read_from_utc,
    case when edges.read_from_utc is null then {{ time_begins() }} else {{ dbt.dateadd('hour', -1, 'edges.hours_from_utc') }} end
        as hours_from_utc
    {%- else %}
    {{ time_begins() }} as from_utc,
    {{ time_ends() }} as to_utc,
    {{ time_begins() }} as read_from_utc,
    {{ time_begins() }} as hours_from_utc
    {%- endif %}
from spans
{%- if known_steps and known_hours and not refreshes() %}
left join edges
    on spans.device_id = edges.device_id
    and spans.metric = edges.metric
{%- endif %}
