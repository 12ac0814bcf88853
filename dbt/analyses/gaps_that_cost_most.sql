-- Which products were missing from their shelves for longest, and what may that have cost?
-- An estimate: dbt/dbt_project.yml says what it assumes.
select
    store_id,
    product_name,
    sum(minutes_empty) as minutes_empty,
    round(100 * (sum(minutes_seen) - sum(minutes_empty)) / sum(minutes_seen), 1) as available_percent,
    max(currency) as currency,
    round(sum(sold_amount), 2) as sold,
    round(sum(lost_sales), 2) as lost_sales
from {{ ref('rpt_on_shelf_availability') }}
where minutes_seen > 0
group by store_id, product_id, product_name
order by lost_sales desc nulls last, minutes_empty desc, store_id, product_name
limit 10
