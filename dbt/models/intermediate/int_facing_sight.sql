with sights as (

    select
        *,
        -- `seen` says what the model looked for; a count of 0, that it is not so. As in fct_shelf_hour.
        case
            when seen = 'empty_facing' then case when seen_count = 0 then 0 else 1 end
            when seen = 'item' then case when seen_count = 0 then 1 else 0 end
            else 0
        end as is_empty
    from {{ ref('stg_cv_detections') }}
    where
        zone_kind = 'facing'
        and asset_id is not null
        and seen in ('empty_facing', 'low_facing', 'item')

),

placed as (

    select
        sights.event_id,
        sights.event_time_utc,
        sights.store_id,
        sights.asset_id,
        sights.is_empty,
        {{ local_date('sights.event_time_utc', 'store.time_zone') }} as business_date,
        facing.product_id
    from sights
    left join {{ ref('dim_store') }} as store
        on sights.store_id = store.store_id
        and {{ valid_at('store', 'sights.event_time_utc') }}
    left join {{ ref('dim_asset') }} as facing
        on sights.asset_id = facing.asset_id
        and {{ valid_at('facing', 'sights.event_time_utc') }}

),

-- Where a product has several facings, a sale does not say from which one.
shared as (

    select distinct
        placed.event_id,
        placed.event_time_utc
    from placed
    inner join {{ ref('dim_asset') }} as other
        on placed.store_id = other.store_id
        and placed.product_id = other.product_id
        and placed.asset_id <> other.asset_id
        and {{ valid_at('other', 'placed.event_time_utc') }}
    where other.asset_class = 'facing' and other.status = 'active'

),

steps as (

    {%- set in_order %}over (partition by placed.store_id, placed.asset_id order by placed.event_time_utc, placed.event_id){% endset %}

    select
        placed.*,
        case when placed.product_id is not null and shared.event_id is null then 1 else 0 end as sales_tell,
        lag(placed.is_empty) {{ in_order }} as is_empty_before,
        lag(placed.event_time_utc) {{ in_order }} as before_utc
    from placed
    left join shared
        on placed.event_id = shared.event_id
        and placed.event_time_utc = shared.event_time_utc

),

-- Sights of the same that follow each other are one stretch, unless nobody looked for too long in between.
numbered as (

    select
        *,
        sum(
            case
                when is_empty = is_empty_before
                    and event_time_utc <= {{ dbt.dateadd('minute', var('facing_stands_minutes'), 'before_utc') }}
                    then 0
                else 1
            end
        ) over (
            partition by store_id, asset_id
            order by event_time_utc, event_id
            rows between unbounded preceding and current row
        ) as stretch
    from steps

),

stretches as (

    select
        store_id,
        asset_id,
        stretch,
        max(is_empty) as is_empty,
        max(product_id) as product_id,
        min(sales_tell) as sales_tell,
        min(event_time_utc) as from_utc,
        max(event_time_utc) as last_seen_utc,
        min(business_date) as first_date,
        max(business_date) as last_date
    from numbered
    group by store_id, asset_id, stretch

),

ended as (

    select
        *,
        {{ dbt.dateadd('minute', var('basket_minutes'), 'from_utc') }} as baskets_done_utc,
        lead(from_utc) over (partition by store_id, asset_id order by stretch) as next_from_utc
    from stretches

),

spans as (

    select
        *,
        -- The newest stretch goes on; one after which nobody looked stands for no longer than a sight does.
        case
            when next_from_utc is not null
                then least(
                    next_from_utc, {{ dbt.dateadd('minute', var('facing_stands_minutes'), 'last_seen_utc') }}
                )
        end as to_utc
    from ended

),

sales as (

    select distinct
        line.store_id,
        line.product_id,
        line.transaction_id,
        line.event_time_utc,
        {{ local_date('line.event_time_utc', 'store.time_zone') }} as business_date
    from {{ ref('int_receipt_line') }} as line
    left join {{ ref('dim_store') }} as store
        on line.store_id = store.store_id
        and {{ valid_at('store', 'line.event_time_utc') }}
    -- A pickup order is picked long before it is paid.
    where line.kind = 'sale' and not coalesce(line.is_voided, false) and coalesce(line.channel, '') <> 'curbside'

),

tills as (

    select store_id, max(event_time_utc) as told_until_utc
    from {{ ref('stg_pos_transactions') }}
    group by store_id

),

-- The next sale that can tell something about a sight: while a facing is empty, none of what was in baskets by then.
timeline as (

    select
        numbered.store_id,
        numbered.product_id,
        case
            when spans.is_empty = 1 then greatest(numbered.event_time_utc, spans.baskets_done_utc)
            else numbered.event_time_utc
        end as at_utc,
        numbered.event_id,
        numbered.event_time_utc,
        0 as is_sale
    from numbered
    inner join spans
        on numbered.store_id = spans.store_id
        and numbered.asset_id = spans.asset_id
        and numbered.stretch = spans.stretch
    where numbered.sales_tell = 1

    union all

    select store_id, product_id, event_time_utc, null, null, 1
    from sales

),

followed as (

    select
        event_id,
        event_time_utc,
        is_sale,
        min(case when is_sale = 1 then at_utc end) over (
            partition by store_id, product_id
            order by at_utc, is_sale
            rows between current row and unbounded following
        ) as next_sale_utc
    from timeline

),

-- How often a product sells in an hour with the store open. Hours in which it was missing count as well, so this is
-- rather too low, and a gap is believed later.
open_days as (

    select
        store_id,
        business_date,
        sum({{ seconds_between('opens_utc', 'closes_utc') }}) as open_s
    from {{ ref('int_open_span') }}
    group by store_id, business_date

),

product_days as (

    select distinct store_id, product_id, business_date
    from placed
    where product_id is not null

),

sold as (

    select
        days.store_id,
        days.product_id,
        days.business_date,
        open_days.open_s,
        count(sales.transaction_id) as receipts
    from product_days as days
    inner join open_days
        on days.store_id = open_days.store_id
        and days.business_date = open_days.business_date
    left join sales
        on days.store_id = sales.store_id
        and days.product_id = sales.product_id
        and days.business_date = sales.business_date
    group by days.store_id, days.product_id, days.business_date, open_days.open_s

),

rates as (

    select
        days.store_id,
        days.product_id,
        days.business_date,
        sum(past.receipts) as receipts,
        sum(past.open_s) as open_s
    from product_days as days
    inner join sold as past
        on days.store_id = past.store_id
        and days.product_id = past.product_id
        and past.business_date <= days.business_date
        and {{ dbt.dateadd('day', var('lost_sales_rate_days'), 'past.business_date') }} > days.business_date
    group by days.store_id, days.product_id, days.business_date

),

-- The dates at a stretch's ends: of one that lasts for days, those between count for nothing.
stretch_dates as (

    select store_id, asset_id, stretch, product_id, baskets_done_utc, to_utc, first_date, first_date as business_date
    from spans
    where is_empty = 1 and sales_tell = 1 and to_utc > baskets_done_utc

    union

    select store_id, asset_id, stretch, product_id, baskets_done_utc, to_utc, first_date, last_date
    from spans
    where is_empty = 1 and sales_tell = 1 and to_utc > baskets_done_utc

),

expected as (

    select
        stretch_dates.store_id,
        stretch_dates.asset_id,
        stretch_dates.stretch,
        sum(
            {{ part_of_amount(
                seconds_in_both('stretch_dates.baskets_done_utc', 'stretch_dates.to_utc', 'span.opens_utc', 'span.closes_utc'),
                'rates.receipts',
                'rates.open_s'
            ) }}
        ) as sales
    from stretch_dates
    inner join {{ ref('int_open_span') }} as span
        on stretch_dates.store_id = span.store_id
        and stretch_dates.business_date = span.business_date
    inner join rates
        on stretch_dates.store_id = rates.store_id
        and stretch_dates.product_id = rates.product_id
        and stretch_dates.first_date = rates.business_date
    group by stretch_dates.store_id, stretch_dates.asset_id, stretch_dates.stretch

)

select
    numbered.event_id,
    numbered.event_time_utc,
    numbered.store_id,
    numbered.asset_id,
    numbered.product_id,
    numbered.is_empty = 1 as is_empty,
    spans.from_utc as stretch_from_utc,
    spans.to_utc as stretch_to_utc,
    followed.next_sale_utc,
    min(followed.next_sale_utc) over (
        partition by numbered.store_id, numbered.asset_id, numbered.stretch
    ) as stretch_next_sale_utc,
    cast(expected.sales as decimal(18, 6)) as sales_expected,
    coalesce(tills.told_until_utc >= spans.to_utc, false) as tills_told
from numbered
inner join spans
    on numbered.store_id = spans.store_id
    and numbered.asset_id = spans.asset_id
    and numbered.stretch = spans.stretch
left join followed
    on numbered.event_id = followed.event_id
    and numbered.event_time_utc = followed.event_time_utc
    and followed.is_sale = 0
left join expected
    on numbered.store_id = expected.store_id
    and numbered.asset_id = expected.asset_id
    and numbered.stretch = expected.stretch
left join tills
    on numbered.store_id = tills.store_id
