-- Main meters only: one that hangs on another of its kind has been counted there.
with mains as (

    select hour.*
    from {{ ref('fct_utility_hour') }} as hour
    left join {{ ref('dim_asset') }} as asset
        on hour.asset_id = asset.asset_id
        and {{ valid_at('asset', 'hour.hour_start_utc') }}
    left join {{ ref('dim_asset') }} as parent
        on asset.parent_id = parent.asset_id
        and asset.asset_class = parent.asset_class
        and {{ valid_at('parent', 'hour.hour_start_utc') }}
    where parent.asset_id is null

),

meter_hours as (

    select
        store_id,
        asset_id,
        business_date,
        hour_start_utc,
        max(minutes_closed) as minutes_closed,
        max(case when metric = 'energy' then used end) as counted,
        max(case when metric = 'energy' then used_out_of_hours end) as counted_out_of_hours,
        max(case when metric = 'energy' then used_spread end) as counted_spread,
        max(case when metric = 'power' then used end) as drawn,
        max(case when metric = 'power' then used_out_of_hours end) as drawn_out_of_hours,
        max(minutes_measured) as minutes_measured,
        max(power_max_kw) as power_max_kw,
        max(told_out_of_hours_max) as told_out_of_hours_max_kw,
        sum(resets) as resets
    from mains
    where asset_class = 'power_meter'
    group by store_id, asset_id, business_date, hour_start_utc

),

first_hours as (

    select asset_id, min(hour_start_utc) as first_hour_utc
    from meter_hours
    group by asset_id

),

-- Hours of which a main meter says nothing while another one speaks. A meter is waited for since it was first told of or
-- first spoke: a dimension's first version holds from the beginning, but a new meter did not stand there.
silent_hours as (

    select distinct spoken.store_id, spoken.hour_start_utc
    from (select distinct store_id, hour_start_utc from meter_hours) as spoken
    inner join {{ ref('int_device') }} as device
        on spoken.store_id = device.store_id
        and {{ valid_at('device', 'spoken.hour_start_utc') }}
    inner join {{ ref('dim_asset') }} as asset
        on device.asset_id = asset.asset_id
        and {{ valid_at('asset', 'spoken.hour_start_utc') }}
    left join {{ ref('dim_asset') }} as parent
        on asset.parent_id = parent.asset_id
        and asset.asset_class = parent.asset_class
        and {{ valid_at('parent', 'spoken.hour_start_utc') }}
    left join first_hours
        on device.asset_id = first_hours.asset_id
    left join meter_hours as said
        on device.asset_id = said.asset_id
        and spoken.store_id = said.store_id
        and spoken.hour_start_utc = said.hour_start_utc
    where
        device.asset_class = 'power_meter'
        and device.metric in ('energy', 'power')
        and device.status = 'active'
        and parent.asset_id is null
        and said.asset_id is null
        and (device.changed_at_utc <= spoken.hour_start_utc or first_hours.first_hour_utc < spoken.hour_start_utc)

),

-- Where the counter says nothing of an hour, power times time does.
energy_hours as (

    select
        store_id,
        business_date,
        hour_start_utc,
        max(minutes_closed) as minutes_closed,
        min(minutes_measured) as minutes_measured,
        sum(coalesce(counted, drawn)) as used,
        sum(case when counted is not null then counted_out_of_hours else drawn_out_of_hours end) as out_of_hours,
        sum(coalesce(counted_spread, 0)) as spread,
        max(power_max_kw) as power_max_kw,
        max(told_out_of_hours_max_kw) as told_out_of_hours_max_kw,
        sum(resets) as resets
    from meter_hours
    group by store_id, business_date, hour_start_utc

),

told_hours as (

    select
        energy_hours.*,
        case when silent_hours.store_id is null then 1 else 0 end as is_covered
    from energy_hours
    left join silent_hours
        on energy_hours.store_id = silent_hours.store_id
        and energy_hours.hour_start_utc = silent_hours.hour_start_utc

),

energy as (

    select
        store_id,
        business_date,
        sum(is_covered) as hours_covered,
        sum(is_covered * minutes_closed) as minutes_closed,
        sum(is_covered * minutes_measured) as minutes_measured,
        sum(used) as used,
        sum(out_of_hours) as out_of_hours,
        sum(spread) as spread,
        max(power_max_kw) as power_max_kw,
        max(told_out_of_hours_max_kw) as told_out_of_hours_max_kw,
        sum(resets) as resets
    from told_hours
    group by store_id, business_date

),

water as (

    select
        store_id,
        business_date,
        sum(used) as used,
        sum(used_out_of_hours) as out_of_hours,
        sum(resets) as resets
    from mains
    where asset_class = 'water_meter' and metric = 'water'
    group by store_id, business_date

),

refrigeration as (

    select store_id, business_date, sum(used) as used
    from {{ ref('fct_utility_hour') }}
    where asset_class = 'rack' and metric = 'power'
    group by store_id, business_date

),

store_days as (

    select store_id, business_date
    from energy

    union

    select store_id, business_date
    from water

),

dated as (

    select
        store_days.store_id,
        store_days.business_date,
        store.area_m2,
        cast({{ seconds_between(
            day_start_utc('store_days.business_date', 'store.time_zone'),
            day_end_utc('store_days.business_date', 'store.time_zone')
        ) }} / 3600 as decimal(4, 2)) as day_hours
    from store_days
    left join {{ ref('dim_store') }} as store
        on store_days.store_id = store.store_id
        and {{ valid_at('store', dbt.dateadd('hour', 12, 'cast(store_days.business_date as timestamp)')) }}

)

select
    dated.store_id,
    dated.business_date,
    dated.day_hours,
    dated.area_m2,
    cast(round({{ quotient('energy.minutes_measured', '60') }}, 2) as decimal(9, 2)) as hours_measured,
    cast(energy.hours_covered as bigint) as hours_covered,
    cast(round({{ quotient('energy.minutes_closed', '60') }}, 2) as decimal(9, 2)) as hours_closed,
    cast(energy.used as decimal(18, 6)) as energy_kwh,
    {{ part_of_amount('energy.used', '1', 'dated.area_m2') }} as energy_kwh_per_m2,
    cast(energy.out_of_hours as decimal(18, 6)) as energy_out_of_hours_kwh,
    {{ percent('energy.out_of_hours', 'energy.used') }} as energy_out_of_hours_percent,
    cast(energy.spread as decimal(18, 6)) as energy_spread_kwh,
    cast(refrigeration.used as decimal(18, 6)) as refrigeration_kwh,
    energy.power_max_kw,
    energy.told_out_of_hours_max_kw,
    cast(water.used as decimal(18, 6)) as water_m3,
    cast(water.out_of_hours as decimal(18, 6)) as water_out_of_hours_m3,
    {{ percent('water.out_of_hours', 'water.used') }} as water_out_of_hours_percent,
    {{ part_of_amount('water.used', '1000', 'dated.area_m2') }} as water_litres_per_m2,
    cast(coalesce(energy.resets, 0) + coalesce(water.resets, 0) as bigint) as meter_resets
from dated
left join energy
    on dated.store_id = energy.store_id
    and dated.business_date = energy.business_date
left join water
    on dated.store_id = water.store_id
    and dated.business_date = water.business_date
left join refrigeration
    on dated.store_id = refrigeration.store_id
    and dated.business_date = refrigeration.business_date
