{%- set touched = [
    {'by': 'int_touched_receipt', 'key': ['store_id', 'transaction_id'], 'only': "reason in ('new', 'changed')"},
] -%}
{%- set kept = {'at': 'event_time_utc', 'from': ['stg_pos_transactions'], 'persons': ['customer_id']} -%}
{{ config(materialized='incremental', incremental_strategy='touched', meta={'touched': touched, 'kept': kept}) }}
with signed as (

    select
        *,
        -- A return or void takes back, whichever sign the till wrote; a line taken back before payment is nothing.
        case when is_voided then 0 when kind = 'sale' then 1 else -1 end as direction
    from {{ ref('int_receipt_line') }} as line
    where {{ is_touched(touched, 'line') }}

),

netted as (

    select
        *,
        case when direction < 0 then -abs(quantity) else quantity * direction end as net_quantity,
        case when direction < 0 then -abs(weight_kg) else weight_kg * direction end as net_weight_kg,
        case when direction < 0 then -abs(discount) else discount * direction end as net_discount,
        case when direction < 0 then -abs(tax) else tax * direction end as net_tax,
        case when direction < 0 then -abs(amount) else amount * direction end as net_amount
    from signed

)

select
    line.store_id,
    line.transaction_id,
    line.line_no,
    line.event_time_utc,
    {{ business_time('line.event_time_utc', 'store.time_zone') }},
    line.kind,
    line.original_transaction_id,
    line.channel,
    line.lane_id,
    line.customer_id,
    line.product_id,
    coalesce(own.product_name, common.product_name) as product_name,
    line.department,
    coalesce(own.category, common.category) as category,
    coalesce(own.storage, common.storage) as storage,
    line.currency,
    line.unit_price,
    line.is_voided,
    cast(line.net_quantity as decimal(18, 3)) as net_quantity,
    cast(line.net_weight_kg as decimal(18, 3)) as net_weight_kg,
    cast(line.net_discount as decimal(18, 3)) as net_discount,
    cast(line.net_tax as decimal(18, 3)) as net_tax,
    cast(line.net_amount as decimal(18, 3)) as net_amount
from netted as line
left join {{ ref('dim_store') }} as store
    on line.store_id = store.store_id
    and {{ valid_at('store', 'line.event_time_utc') }}
-- A store's own version of a product goes before the chain's.
left join {{ ref('dim_product') }} as own
    on line.product_id = own.product_id
    and line.store_id = own.store_id
    and {{ valid_at('own', 'line.event_time_utc') }}
left join {{ ref('dim_product') }} as common
    on line.product_id = common.product_id
    and common.store_id = 'chain'
    and {{ valid_at('common', 'line.event_time_utc') }}
