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

)

select
    visitors.store_id,
    visitors.local_hour,
    count(*) as days,
    sum(visitors.entered) as entered,
    sum(coalesce(baskets.baskets, 0)) as baskets,
    round(100.0 * sum(coalesce(baskets.baskets, 0)) / nullif(sum(visitors.entered), 0), 1) as baskets_per_100_entered,
    round(sum(baskets.sold) / nullif(sum(baskets.baskets), 0), 2) as average_basket,
    max(baskets.currency) as currency
from visitors
left join baskets
    on visitors.store_id = baskets.store_id
    and visitors.business_date = baskets.business_date
    and visitors.local_hour = baskets.local_hour
group by visitors.store_id, visitors.local_hour
order by visitors.store_id, visitors.local_hour
