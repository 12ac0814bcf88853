with sales as (

    select
        store_id,
        business_date,
        sum(case when kind = 'sale' and not was_voided then 1 else 0 end) as baskets,
        -- Nobody comes in for a curbside order.
        sum(case when kind = 'sale' and not was_voided and coalesce(channel, '') <> 'curbside' then 1 else 0 end)
            as baskets_inside,
        sum(net_amount) as net_sales,
        sum(case when kind = 'sale' and not was_voided then net_amount else 0 end) as in_baskets,
        -sum(case when kind = 'return' then net_amount else 0 end) as returned
    from {{ ref('fct_basket') }}
    group by store_id, business_date

),

traffic as (

    select store_id, business_date, sum(entered) as entered
    from {{ ref('fct_zone_traffic_hour') }}
    where seen = 'person'
    group by store_id, business_date

),

queues as (

    select
        store_id,
        business_date,
        sum(lane_minutes) as lane_minutes,
        sum(lane_minutes_within) as lane_minutes_within
    from {{ ref('rpt_queue_service') }}
    group by store_id, business_date

),

shelves as (

    select
        store_id,
        business_date,
        sum(minutes_seen) as minutes_seen,
        sum(minutes_empty) as minutes_empty,
        sum(lost_sales) as lost_sales
    from {{ ref('rpt_on_shelf_availability') }}
    group by store_id, business_date

),

cold_chain as (

    select
        store_id,
        business_date,
        count(*) as cases,
        sum(case when minutes_above_limit > minutes_above_limit_in_defrost then 1 else 0 end) as cases_above_limit,
        sum(minutes_above_limit - minutes_above_limit_in_defrost) as minutes_above,
        sum(degree_minutes_above_limit - degree_minutes_above_limit_in_defrost) as degree_minutes_above
    from {{ ref('rpt_cold_chain_compliance') }}
    group by store_id, business_date

),

alerts as (

    select
        store_id,
        business_date,
        sum(alerts) as alerts,
        sum(critical_alerts) as critical_alerts,
        sum(false_alerts) as false_alerts,
        max(minutes_to_acknowledge_max) as minutes_to_acknowledge_max
    from {{ ref('rpt_alert_quality') }}
    group by store_id, business_date

),

-- On the day for which the orders were promised.
pickup as (

    select
        store_id,
        business_date,
        sum(orders) as orders,
        sum(orders_ready_known) as ready_known,
        sum(orders_ready_in_time) as ready_in_time,
        sum(waits) as waits,
        sum(minutes_waited_avg * waits) as minutes_waited,
        sum(long_waits) as long_waits
    from {{ ref('rpt_curbside_service') }}
    group by store_id, business_date

),

store_days as (

    {%- for part in ['sales', 'traffic', 'queues', 'shelves', 'cold_chain', 'alerts', 'pickup'] %}
    select store_id, business_date
    from {{ part }}

    union
    {% endfor %}
    select store_id, business_date
    from {{ ref('rpt_energy') }}

)

select
    store_days.store_id,
    store_days.business_date,
    store.store_name,
    store.currency,
    cast(sales.baskets as bigint) as baskets,
    cast(sales.net_sales as decimal(18, 3)) as net_sales,
    cast(round({{ quotient('sales.in_baskets', 'sales.baskets') }}, 3) as decimal(18, 3)) as average_basket,
    cast(sales.returned as decimal(18, 3)) as returned,
    cast(traffic.entered as bigint) as entered,
    {{ percent('sales.baskets_inside', 'traffic.entered') }} as baskets_per_100_entered,
    {{ percent('queues.lane_minutes_within', 'queues.lane_minutes') }} as queue_within_percent,
    100 * queues.lane_minutes_within >= {{ var('queue_target_percent') }} * queues.lane_minutes as is_queue_target_met,
    {{ percent('shelves.minutes_seen - shelves.minutes_empty', 'shelves.minutes_seen') }} as on_shelf_percent,
    case
        when shelves.minutes_seen > 0
            then 100 * (shelves.minutes_seen - shelves.minutes_empty)
                >= {{ var('on_shelf_target_percent') }} * shelves.minutes_seen
    end as is_on_shelf_target_met,
    cast(shelves.lost_sales as decimal(18, 3)) as lost_sales,
    cast(cold_chain.cases as bigint) as cold_cases,
    cast(cold_chain.cases_above_limit as bigint) as cold_cases_above_limit,
    cast(cold_chain.minutes_above as decimal(18, 2)) as cold_minutes_above_limit,
    cast(cold_chain.degree_minutes_above as decimal(18, 2)) as cold_degree_minutes_above_limit,
    energy.energy_kwh,
    energy.energy_kwh_per_m2,
    energy.energy_out_of_hours_percent,
    energy.water_m3,
    cast(coalesce(alerts.alerts, 0) as bigint) as alerts,
    cast(coalesce(alerts.critical_alerts, 0) as bigint) as critical_alerts,
    cast(coalesce(alerts.false_alerts, 0) as bigint) as false_alerts,
    alerts.minutes_to_acknowledge_max,
    cast(pickup.orders as bigint) as pickup_orders,
    {{ percent('pickup.ready_in_time', 'pickup.ready_known') }} as pickup_ready_in_time_percent,
    cast(round({{ quotient('pickup.minutes_waited', 'pickup.waits') }}, 2) as decimal(18, 2)) as pickup_minutes_waited_avg,
    cast(pickup.long_waits as bigint) as pickup_long_waits
from store_days
left join {{ ref('dim_store') }} as store
    on store_days.store_id = store.store_id
    and {{ valid_at('store', dbt.dateadd('hour', 12, 'cast(store_days.business_date as timestamp)')) }}
{%- for part in ['sales', 'traffic', 'queues', 'shelves', 'cold_chain', 'alerts', 'pickup'] %}
left join {{ part }}
    on store_days.store_id = {{ part }}.store_id
    and store_days.business_date = {{ part }}.business_date
{%- endfor %}
left join {{ ref('rpt_energy') }} as energy
    on store_days.store_id = energy.store_id
    and store_days.business_date = energy.business_date
