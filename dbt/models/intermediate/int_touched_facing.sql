-- One span for each facing, from its first new sight to its last. It begins with the sight before, which stands until the
-- new one, and lasts until a sight says anew whether the facing is low. Its hours are those it reaches into, and those
-- of which a version of the store or facing is new.
{%- set known_sights = as_it_was('int_shelf_sight') %}
{%- set known_hours = as_it_was('fct_shelf_hour') %}
with spans as (

    select store_id, asset_id, min(event_time_utc) as first_utc, max(event_time_utc) as last_utc
    from {{ ref('stg_cv_detections') }} as seen
    where
        zone_kind = 'facing'
        and asset_id is not null
        and {{ is_new('stg_cv_detections', 'seen') }}
        {{- ' and false' if refreshes() }}
    group by store_id, asset_id

),

{% if known_sights and known_hours and not refreshes() -%}
known_times as (

    select
        sight.store_id,
        sight.asset_id,
        sight.event_time_utc,
        min(case when sight.says_low then 1 else 0 end) as says_low
    from {{ known_sights }} as sight
    where sight.asset_id in (select asset_id from spans)
    group by sight.store_id, sight.asset_id, sight.event_time_utc

),

edges as (

    select
        spans.store_id,
        spans.asset_id,
        max(case when known.event_time_utc < spans.first_utc then known.event_time_utc end) as before_utc,
        min(case when known.event_time_utc > spans.last_utc and known.says_low = 1 then known.event_time_utc end)
            as after_utc
    from spans
    inner join known_times as known
        on spans.store_id = known.store_id
        and spans.asset_id = known.asset_id
    group by spans.store_id, spans.asset_id

),

{% endif -%}
sights as (

    select
        spans.store_id,
        spans.asset_id,
        {%- if known_sights and known_hours and not refreshes() %}
        coalesce(edges.before_utc, spans.first_utc) as from_utc,
        coalesce(edges.after_utc, {{ time_ends() }}) as to_utc
        {%- else %}
        spans.first_utc as from_utc,
        {{ time_ends() }} as to_utc
        {%- endif %}
    from spans
    {%- if known_sights and known_hours and not refreshes() %}
    left join edges
        on spans.store_id = edges.store_id
        and spans.asset_id = edges.asset_id
    {%- endif %}

),

hours as (

    select
        store_id,
        asset_id,
        {{ dbt.dateadd('hour', -1, 'from_utc') }} as hours_from_utc,
        to_utc as hours_to_utc
    from sights

    {%- if known_sights and known_hours and not refreshes() %}

    union all

    select hour.store_id, hour.asset_id, hour.hour_start_utc, {{ dbt.dateadd('hour', 1, 'hour.hour_start_utc') }}
    from {{ known_hours }} as hour
    inner join {{ ref('int_changed_version') }} as version
        on hour.store_id = version.store_id
        and {{ near('version', 'hour.hour_start_utc') }}
    where version.dimension = 'store'

    union all

    select hour.store_id, hour.asset_id, hour.hour_start_utc, {{ dbt.dateadd('hour', 1, 'hour.hour_start_utc') }}
    from {{ known_hours }} as hour
    inner join {{ ref('int_changed_version') }} as version
        on hour.asset_id = version.changed_id
        and hour.hour_start_utc >= version.from_utc
        and hour.hour_start_utc < version.to_utc
    where version.dimension = 'asset'
    {%- endif %}

)

select
    hours.store_id,
    hours.asset_id,
    min(sights.from_utc) as from_utc,
    max(sights.to_utc) as to_utc,
    min(hours.hours_from_utc) as hours_from_utc,
    max(hours.hours_to_utc) as hours_to_utc
from hours
left join sights
    on hours.store_id = sights.store_id
    and hours.asset_id = sights.asset_id
group by hours.store_id, hours.asset_id
