-- By new readings, and by new versions of their store or of an asset that has had their device.
with new_hours as (

    select distinct device_id, metric, store_id, asset_id, date_trunc('hour', event_time_utc) as hour_utc
    from {{ ref('stg_sensor_readings') }} as reading
    where
        kind in ('reading', 'bad-reading')
        and {{ is_new('stg_sensor_readings', 'reading') }}
        {{- ' and false' if refreshes() }}

),

{% set known_hours = as_it_was('fct_sensor_hour') -%}
{%- if known_hours and not refreshes() %}
devices as (

    select distinct device.device_id, version.from_utc, version.to_utc
    from {{ ref('int_changed_version') }} as version
    inner join {{ ref('int_device') }} as device on version.changed_id = device.asset_id
    where version.dimension = 'asset'

),

reached as (

    select hour.device_id, hour.metric, hour.store_id, hour.asset_id, hour.hour_start_utc
    from {{ known_hours }} as hour
    inner join devices
        on hour.device_id = devices.device_id
        -- Also the hour in which the version begins.
        and hour.hour_start_utc > {{ dbt.dateadd('hour', -1, 'devices.from_utc') }}
        and hour.hour_start_utc < devices.to_utc

    union all

    select hour.device_id, hour.metric, hour.store_id, hour.asset_id, hour.hour_start_utc
    from {{ known_hours }} as hour
    inner join {{ ref('int_changed_version') }} as version
        on hour.store_id = version.store_id
        and {{ near(version='version', instant_utc='hour.hour_start_utc') }}
    where version.dimension = 'store'

),

{% endif -%}
hours as (

    select device_id, metric, store_id, asset_id, hour_utc
    from new_hours

    {%- if known_hours and not refreshes() %}

    union

    -- A local hour may lie in two of UTC's.
    select device_id, metric, store_id, asset_id, date_trunc('hour', hour_start_utc)
    from reached

    union

    select
        device_id,
        metric,
        store_id,
        asset_id,
        date_trunc('hour', {{ dbt.dateadd('minute', 59, 'hour_start_utc') }})
    from reached
    {%- endif %}

)

select
    device_id,
    metric,
    store_id,
    asset_id,
    hour_utc,
    {{ local_hours_of('hour_utc') }}
from hours
