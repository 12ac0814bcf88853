-- At which hours do people come in, how many baskets does that make, and what are they worth?
with visitors as (

    select store_id, business_date, local_hour, sum(entered) as entered
    from {{ ref('fct_zone_traffic_hour') }}
    where seen = 'person' and zone_kind = 'entrance'
    group by store_id, business_date, local_hour

),

baskets as (

    select store_id, business_date, local_hour, max(currency) as currency, count(*) as baskets, sum(net_amount) as sold
    from {{ ref('fct_basket') }}
    where kind = 'sale' and not was_voided and coalesce(channel, '') <> 'curbside'
    group by store_id, business_date, local_hour

),

-- Also hours in which nobody was seen to come in.
hours as (

    select
        coalesce(visitors.store_id, baskets.store_id) as store_id,
        coalesce(visitors.local_hour, baskets.local_hour) as local_hour,
        visitors.entered,
        coalesce(baskets.baskets, 0) as baskets,
        case when visitors.entered is null then 0 else coalesce(baskets.baskets, 0) end as baskets_while_counted,
        baskets.sold,
        baskets.currency
    from visitors
    full outer join baskets
        on visitors.store_id = baskets.store_id
        and visitors.business_date = baskets.business_date
        and visitors.local_hour = baskets.local_hour

)

select
    store_id,
    local_hour,
    count(*) as days,
    sum(entered) as entered,
    sum(baskets) as baskets,
    round(100.0 * sum(baskets_while_counted) / nullif(sum(entered), 0), 1) as baskets_per_100_entered,
    round(sum(sold) / nullif(sum(baskets), 0), 2) as average_basket,
    max(currency) as currency
from hours
group by store_id, local_hour
order by store_id, local_hour
