{%- set sources = [
    'stg_alert_commands', 'stg_alert_events', 'stg_assets', 'stg_cv_detections', 'stg_derived_metrics',
    'stg_geofence_events', 'stg_lane_status', 'stg_orders', 'stg_pos_transactions', 'stg_products', 'stg_scan_events',
    'stg_sensor_readings', 'stg_stores',
] -%}
{%- set known = as_it_was('int_silver_read') -%}
-- One look at silver decides what is new in this run, whatever is written to it while the run goes on. A batch that was
-- read before and has other rows since is new as a whole.
with there as (

    {%- for source in sources %}
    select '{{ source }}' as source, {{ kept_stamp('loaded_at') }} as loaded_at, cast(count(*) as bigint) as row_count
    from {{ ref(source) }}
    group by loaded_at
    {{ 'union all' if not loop.last }}
    {%- endfor %}

)

select there.source, there.loaded_at, there.row_count
from there
{%- if known and not refreshes() %}
left join {{ known }} as known
    on there.source = known.source
    and there.loaded_at = known.loaded_at
    and there.row_count = known.row_count
where known.source is null
{%- endif %}
