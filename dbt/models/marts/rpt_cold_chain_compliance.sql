with first_days as (

    select asset_id, device_id, min(business_date) as first_date
    from {{ ref('int_cold_chain_day') }}
    group by asset_id, device_id

),

-- A device is waited for since it was first told of or first spoke: a dimension's first version holds from the beginning,
-- but a new freezer did not stand there.
placed_devices as (

    select
        day.*,
        device.asset_id,
        device.device_id,
        device.asset_class,
        device.interval_s,
        device.valid_to_utc,
        case
            when first_days.first_date < day.business_date or device.changed_at_utc >= day.day_end_utc
                then device.valid_from_utc
            else device.changed_at_utc
        end as waited_from_utc
    from {{ ref('int_store_day') }} as day
    inner join {{ ref('int_device') }} as device
        on day.store_id = device.store_id
        and device.valid_from_utc < day.day_end_utc
        and device.valid_to_utc > day.day_start_utc
    left join first_days
        on device.asset_id = first_days.asset_id
        and device.device_id = first_days.device_id
    where
        device.metric = 'temperature'
        and device.status = 'active'
        and device.asset_class in {{ cold_chain_classes() }}
        and (device.changed_at_utc < day.day_end_utc or first_days.first_date <= day.business_date)

),

-- Seconds are summed before they are divided, and what is summed after is exact.
device_intervals as (

    select
        asset_id,
        device_id,
        business_date,
        interval_s,
        max(store_id) as store_id,
        max(asset_class) as asset_class,
        sum({{ seconds_between('greatest(day_start_utc, waited_from_utc)', 'least(day_end_utc, valid_to_utc)') }})
            as waited_s,
        sum(greatest({{ seconds_between(
            'greatest(covered_from_utc, waited_from_utc)', 'least(covered_to_utc, valid_to_utc)'
        ) }}, 0)) as waited_covered_s
    from placed_devices
    group by asset_id, device_id, business_date, interval_s

),

device_days as (

    select
        asset_id,
        device_id,
        business_date,
        max(store_id) as store_id,
        max(asset_class) as asset_class,
        sum({{ quotient('waited_s', 'interval_s') }}) as expected,
        sum({{ quotient('waited_covered_s', 'interval_s') }}) as expected_covered
    from device_intervals
    group by asset_id, device_id, business_date

),

sensor_days as (

    select
        coalesce(device_days.asset_id, measured.asset_id) as asset_id,
        coalesce(device_days.device_id, measured.device_id) as device_id,
        coalesce(device_days.business_date, measured.business_date) as business_date,
        coalesce(device_days.store_id, measured.store_id) as seen_store_id,
        coalesce(device_days.asset_class, measured.asset_class) as asset_class,
        coalesce(device_days.expected, 0) as expected,
        coalesce(device_days.expected_covered, 0) as expected_covered,
        coalesce(measured.received, 0) as received,
        coalesce(measured.monitored_s, 0) as monitored_s,
        coalesce(measured.above_s, 0) as above_s,
        coalesce(measured.above_defrost_s, 0) as above_defrost_s,
        coalesce(measured.above_k_s, 0) as above_k_s,
        coalesce(measured.above_defrost_k_s, 0) as above_defrost_k_s,
        measured.worst_c
    from device_days
    full outer join {{ ref('int_cold_chain_day') }} as measured
        on device_days.asset_id = measured.asset_id
        and device_days.device_id = measured.device_id
        and device_days.business_date = measured.business_date
    where device_days.device_id is not null or measured.received > 0

),

ranked as (

    select
        *,
        row_number() over (
            partition by asset_id, business_date
            order by above_s - above_defrost_s desc, above_s desc, device_id
        ) as by_time,
        row_number() over (
            partition by asset_id, business_date
            order by above_k_s - above_defrost_k_s desc, above_k_s desc, device_id
        ) as by_degrees
    from sensor_days

),

-- Where several sensors watch an asset, the worst counts: least time monitored, most time above outside of defrosts. Time
-- above and that in defrosts are of one sensor: what one saw in a defrost excuses nothing that another one saw.
asset_days as (

    select
        asset_id,
        business_date,
        max(seen_store_id) as seen_store_id,
        max(asset_class) as asset_class,
        sum(expected) as expected,
        sum(expected_covered) as expected_covered,
        sum(received) as received,
        min(monitored_s) as monitored_s,
        max(case when by_time = 1 then above_s end) as above_s,
        max(case when by_time = 1 then above_defrost_s end) as above_defrost_s,
        max(case when by_degrees = 1 then above_k_s end) as above_k_s,
        max(case when by_degrees = 1 then above_defrost_k_s end) as above_defrost_k_s,
        max(worst_c) as worst_c
    from ranked
    group by asset_id, business_date

),

-- An asset that is moved belongs to the store where it was at noon, UTC.
placed as (

    select
        asset_days.*,
        asset.asset_name,
        coalesce(asset.store_id, asset_days.seen_store_id) as store_id
    from asset_days
    left join {{ ref('dim_asset') }} as asset
        on asset_days.asset_id = asset.asset_id
        and {{ valid_at('asset', dbt.dateadd('hour', 12, 'cast(asset_days.business_date as timestamp)')) }}

),

zoned as (

    select placed.*, store.time_zone
    from placed
    left join {{ ref('dim_store') }} as store
        on placed.store_id = store.store_id
        and {{ valid_at('store', dbt.dateadd('hour', 12, 'cast(placed.business_date as timestamp)')) }}

),

-- Asked once for each day of a zone: for each asset it took most of the report's time.
local_days as (

    select
        business_date,
        time_zone,
        {{ day_start_utc('business_date', 'time_zone') }} as day_start_utc,
        {{ day_end_utc('business_date', 'time_zone') }} as day_end_utc
    from (select distinct business_date, time_zone from zoned) as days

),

dated as (

    select zoned.*, local_days.day_start_utc, local_days.day_end_utc
    from zoned
    left join local_days
        on zoned.business_date = local_days.business_date
        and zoned.time_zone = local_days.time_zone

),

bad_readings as (

    select asset_id, business_date, sum(bad_readings) as bad_readings
    from {{ ref('int_cold_chain_day') }}
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
    dated.asset_name,
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
left join alerts
    on dated.asset_id = alerts.asset_id
    and dated.business_date = alerts.business_date
left join bad_readings
    on dated.asset_id = bad_readings.asset_id
    and dated.business_date = bad_readings.business_date
