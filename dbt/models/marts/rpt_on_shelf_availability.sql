with product_hours as (

    select
        store_id,
        product_id,
        business_date,
        hour_start_utc,
        count(*) as facings,
        sum(minutes_seen_open) as seen,
        sum(minutes_empty_open) as empty,
        sum(minutes_low_open) as low
    from {{ ref('fct_shelf_hour') }}
    where product_id is not null
    group by store_id, product_id, business_date, hour_start_utc

),

-- Sales of the hours in which its facings were seen with the store open, less what was voided in them.
hour_sales as (

    select
        product_hours.store_id,
        product_hours.product_id,
        product_hours.hour_start_utc,
        sum(line.net_amount) as sold
    from product_hours
    inner join {{ ref('fct_sale_line') }} as line
        on product_hours.store_id = line.store_id
        and product_hours.product_id = line.product_id
        and line.event_time_utc >= product_hours.hour_start_utc
        and line.event_time_utc < {{ dbt.dateadd('hour', 1, 'product_hours.hour_start_utc') }}
    where line.kind in ('sale', 'void') and product_hours.seen > 0
    group by product_hours.store_id, product_hours.product_id, product_hours.hour_start_utc

),

open_hours as (

    {{ seconds_open('product_hours', only='seen > 0') }}

),

days as (

    select
        product_hours.store_id,
        product_hours.product_id,
        product_hours.business_date,
        max(product_hours.facings) as facings,
        sum(product_hours.seen) as seen,
        sum(product_hours.empty) as empty,
        sum(product_hours.low) as low,
        -- Sales are of the whole hour, so the time on the shelf must be, too: what of it was not seen was as what was.
        sum({{ part_of_amount(minutes('open_hours.open_s'), 'product_hours.seen - product_hours.empty', 'product_hours.seen') }})
            as stocked,
        -- The product's own time: a facing of two that is empty takes half of it.
        cast(sum({{ part_of_amount('product_hours.empty', '1', 'product_hours.facings') }}) as decimal(18, 6)) as missing,
        cast(sum(coalesce(hour_sales.sold, 0)) as decimal(18, 3)) as sold
    from product_hours
    left join hour_sales
        on product_hours.store_id = hour_sales.store_id
        and product_hours.product_id = hour_sales.product_id
        and product_hours.hour_start_utc = hour_sales.hour_start_utc
    left join open_hours
        on product_hours.store_id = open_hours.store_id
        and product_hours.hour_start_utc = open_hours.hour_start_utc
    group by product_hours.store_id, product_hours.product_id, product_hours.business_date

),

rates as (

    select
        days.store_id,
        days.product_id,
        days.business_date,
        cast(sum(past.sold) as decimal(18, 3)) as sold,
        cast(sum(past.stocked) as decimal(18, 6)) as stocked
    from days
    inner join days as past
        on days.store_id = past.store_id
        and days.product_id = past.product_id
        and past.business_date <= days.business_date
        and {{ dbt.dateadd('day', var('lost_sales_rate_days'), 'past.business_date') }} > days.business_date
    group by days.store_id, days.product_id, days.business_date

),

demanded as (

    select
        days.*,
        case when days.seen > 0 then {{ part_of_amount('days.missing', 'rates.sold', 'rates.stocked') }} end as demand
    from days
    inner join rates
        on days.store_id = rates.store_id
        and days.product_id = rates.product_id
        and days.business_date = rates.business_date

)

select
    demanded.store_id,
    demanded.product_id,
    demanded.business_date,
    coalesce(own.product_name, common.product_name) as product_name,
    coalesce(own.department, common.department) as department,
    cast(demanded.facings as bigint) as facings,
    cast(demanded.seen as decimal(18, 2)) as minutes_seen,
    cast(demanded.empty as decimal(18, 2)) as minutes_empty,
    cast(demanded.low as decimal(18, 2)) as minutes_low,
    {{ percent('demanded.seen - demanded.empty', 'demanded.seen') }} as available_percent,
    cast({{ var('on_shelf_target_percent') }} as decimal(18, 2)) as target_percent,
    case
        when demanded.seen > 0
            then 100 * (demanded.seen - demanded.empty) >= {{ var('on_shelf_target_percent') }} * demanded.seen
    end as is_met,
    store.currency,
    cast(demanded.sold as decimal(18, 3)) as sold_amount,
    cast(round(demanded.demand, 3) as decimal(18, 3)) as demand_while_empty,
    cast(round(demanded.demand * {{ var('lost_sales_share') }}, 3) as decimal(18, 3)) as lost_sales
from demanded
left join {{ ref('dim_store') }} as store
    on demanded.store_id = store.store_id
    and {{ valid_at('store', dbt.dateadd('hour', 12, 'cast(demanded.business_date as timestamp)')) }}
left join {{ ref('dim_product') }} as own
    on demanded.product_id = own.product_id
    and demanded.store_id = own.store_id
    and {{ valid_at('own', dbt.dateadd('hour', 12, 'cast(demanded.business_date as timestamp)')) }}
left join {{ ref('dim_product') }} as common
    on demanded.product_id = common.product_id
    and common.store_id = 'chain'
    and {{ valid_at('common', dbt.dateadd('hour', 12, 'cast(demanded.business_date as timestamp)')) }}
