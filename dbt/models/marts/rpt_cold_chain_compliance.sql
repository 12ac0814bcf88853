with device_days as (

    select
        device.store_id,
        device.asset_id,
        device.asset_class,
        device.device_id,
        day.business_date,
        sum({{ seconds_between(
            'greatest(day.day_start_utc, device.valid_from_utc)',
            'least(day.day_end_utc, device.valid_to_utc)'
        ) }} / device.interval_s) as expected,
        sum(greatest({{ seconds_between(
            'greatest(day.covered_from_utc, device.valid_from_utc)',
            'least(day.covered_to_utc, device.valid_to_utc)'
        ) }}, 0) / device.interval_s) as expected_covered
    from {{ ref('int_store_day') }} as day
    inner join {{ ref('int_device') }} as device
        on day.store_id = device.store_id
        and device.valid_from_utc < day.day_end_utc
        and device.valid_to_utc > day.day_start_utc
    where
        device.metric = 'temperature'
        and device.status = 'active'
        and device.asset_class in {{ cold_chain_classes() }}
    group by device.store_id, device.asset_id, device.asset_class, device.device_id, day.business_date

),

device_measures as (

    select
        store_id,
        asset_id,
        asset_class,
        device_id,
        business_date,
        sum(received) as received,
        sum(monitored_s) as monitored_s,
        sum(above_s) as above_s,
        sum(above_defrost_s) as above_defrost_s,
        sum(above_k_s) as above_k_s,
        sum(above_defrost_k_s) as above_defrost_k_s,
        max(worst_c) as worst_c
    from {{ ref('int_cold_chain_hour') }}
    group by store_id, asset_id, asset_class, device_id, business_date

),

device_keys as (

    select store_id, asset_id, asset_class, device_id, business_date
    from device_days

    union

    select store_id, asset_id, asset_class, device_id, business_date
    from device_measures
    where received > 0

),

-- Where several sensors watch an asset, the worst counts: least time monitored, most time above.
asset_days as (

    select
        device_keys.store_id,
        device_keys.asset_id,
        max(device_keys.asset_class) as asset_class,
        device_keys.business_date,
        sum(coalesce(device_days.expected, 0)) as expected,
        sum(coalesce(device_days.expected_covered, 0)) as expected_covered,
        sum(coalesce(device_measures.received, 0)) as received,
        min(coalesce(device_measures.monitored_s, 0)) as monitored_s,
        max(coalesce(device_measures.above_s, 0)) as above_s,
        max(coalesce(device_measures.above_defrost_s, 0)) as above_defrost_s,
        max(coalesce(device_measures.above_k_s, 0)) as above_k_s,
        max(coalesce(device_measures.above_defrost_k_s, 0)) as above_defrost_k_s,
        max(device_measures.worst_c) as worst_c
    from device_keys
    left join device_days
        on device_keys.device_id = device_days.device_id
        and device_keys.asset_id = device_days.asset_id
        and device_keys.business_date = device_days.business_date
    left join device_measures
        on device_keys.device_id = device_measures.device_id
        and device_keys.asset_id = device_measures.asset_id
        and device_keys.business_date = device_measures.business_date
    group by device_keys.store_id, device_keys.asset_id, device_keys.business_date

),

dated as (

    select
        asset_days.*,
        store.time_zone,
        {{ day_start_utc('asset_days.business_date', 'store.time_zone') }} as day_start_utc,
        {{ day_end_utc('asset_days.business_date', 'store.time_zone') }} as day_end_utc
    from asset_days
    left join {{ ref('dim_store') }} as store
        on asset_days.store_id = store.store_id
        and {{ valid_at('store', dbt.dateadd('hour', 12, 'cast(asset_days.business_date as timestamp)')) }}

),

bad_readings as (

    select asset_id, business_date, sum(bad_readings) as bad_readings
    from {{ ref('fct_sensor_hour') }}
    where metric = 'temperature'
    group by asset_id, business_date

),

alerts as (

    select
        dated.asset_id,
        dated.business_date,
        count(*) as alerts,
        sum(case when alert.worst_severity = 'critical' then 1 else 0 end) as critical_alerts,
        {{ dbt.listagg("alert.rule || ': ' || alert.what_was_done", "'; '", "order by alert.starts_at_utc, alert.alert_id") }}
            as what_was_done
    from dated
    inner join {{ ref('fct_alert') }} as alert
        on dated.asset_id = alert.asset_id
        and alert.starts_at_utc < dated.day_end_utc
        and coalesce(alert.ended_at_utc, dated.day_end_utc) >= dated.day_start_utc
    group by dated.asset_id, dated.business_date

)

select
    dated.store_id,
    dated.asset_id,
    dated.business_date,
    asset.asset_name,
    dated.asset_class,
    cast({{ seconds_between('dated.day_start_utc', 'dated.day_end_utc') }} / 3600 as decimal(4, 2)) as day_hours,
    {{ cold_chain_limit_c('dated.asset_class') }} as limit_c,
    cast(round(dated.expected) as bigint) as readings_expected,
    cast(round(dated.expected_covered) as bigint) as readings_expected_so_far,
    cast(dated.received as bigint) as readings_received,
    cast(coalesce(bad_readings.bad_readings, 0) as bigint) as bad_readings,
    {{ minutes('dated.monitored_s') }} as minutes_monitored,
    {{ minutes('dated.above_s') }} as minutes_above_limit,
    {{ minutes('dated.above_defrost_s') }} as minutes_above_limit_in_defrost,
    {{ minutes('dated.above_k_s') }} as degree_minutes_above_limit,
    {{ minutes('dated.above_defrost_k_s') }} as degree_minutes_above_limit_in_defrost,
    cast(dated.worst_c as decimal(9, 3)) as worst_temperature_c,
    cast(coalesce(alerts.alerts, 0) as bigint) as alerts,
    cast(coalesce(alerts.critical_alerts, 0) as bigint) as critical_alerts,
    alerts.what_was_done
from dated
left join {{ ref('dim_asset') }} as asset
    on dated.asset_id = asset.asset_id
    and {{ valid_at('asset', dbt.dateadd('hour', 12, 'cast(dated.business_date as timestamp)')) }}
left join alerts
    on dated.asset_id = alerts.asset_id
    and dated.business_date = alerts.business_date
left join bad_readings
    on dated.asset_id = bad_readings.asset_id
    and dated.business_date = bad_readings.business_date
