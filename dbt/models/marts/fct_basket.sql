{%- set touched = [
    {'by': 'int_touched_receipt', 'key': ['store_id', 'transaction_id'], 'only': "reason <> 'undoing'"},
] -%}
{%- set kept = {'at': 'event_time_utc', 'from': ['stg_pos_transactions'], 'persons': ['customer_id']} -%}
{{ config(materialized='incremental', incremental_strategy='touched', meta={'touched': touched, 'kept': kept}) }}
with receipts as (

    select
        *,
        {{ major_units('total_minor', 'currency') }} as total
    from {{ ref('stg_pos_transactions') }} as receipt
    where
        {{ counts('receipt') }}
        {%- if goes_on() %}
        and event_date in (select event_date from {{ ref('int_touched_receipt') }})
        and exists (
            select 1
            from {{ ref('int_touched_receipt') }} as touched
            where touched.store_id = receipt.store_id and touched.transaction_id = receipt.transaction_id
        )
        {%- endif %}

),

lines as (

    select
        store_id,
        transaction_id,
        sum(case when is_voided then 0 else 1 end) as lines_kept,
        sum(case when is_voided then 1 else 0 end) as lines_voided,
        count(distinct case when not is_voided then product_id end) as products,
        sum(case when not is_voided and net_discount <> 0 then 1 else 0 end) as lines_discounted,
        sum(net_quantity) as net_quantity,
        sum(net_weight_kg) as net_weight_kg,
        sum(net_discount) as net_discount,
        sum(net_tax) as net_tax,
        sum(net_amount) as net_amount
    from {{ ref('fct_sale_line') }} as line
    where {{ is_touched(touched, 'line') }}
    group by store_id, transaction_id

),

paid as (

    select
        store_id,
        transaction_id,
        sum(case when tender_kind = 'coupon' then paid else 0 end) as by_coupon,
        sum(case when tender_kind = 'voucher' then paid else 0 end) as by_voucher,
        sum(case when tender_kind = 'cash' then paid else 0 end) as by_cash,
        sum(case when tender_kind in ('card', 'mobile') then paid else 0 end) as by_card
    from {{ ref('int_receipt_tender') }} as tender
    where {{ is_touched(touched, 'tender') }}
    group by store_id, transaction_id

),

-- What later receipts undid of an earlier one.
undone as (

    select
        store_id,
        original_transaction_id,
        sum(case when kind = 'return' then 1 else 0 end) as returns,
        sum(case when kind = 'void' then 1 else 0 end) as voids,
        sum(abs(total)) as amount
    from receipts
    where kind in ('return', 'void') and original_transaction_id is not null
    group by store_id, original_transaction_id

)

select
    receipts.store_id,
    receipts.transaction_id,
    receipts.event_id,
    receipts.event_time_utc,
    {{ business_time('receipts.event_time_utc', 'store.time_zone') }},
    receipts.kind,
    receipts.original_transaction_id,
    receipts.channel,
    receipts.lane_id,
    receipts.customer_id,
    receipts.currency,
    cast(coalesce(lines.lines_kept, 0) as bigint) as lines_kept,
    cast(coalesce(lines.lines_voided, 0) as bigint) as lines_voided,
    cast(coalesce(lines.lines_discounted, 0) as bigint) as lines_discounted,
    cast(coalesce(lines.products, 0) as bigint) as products,
    cast(coalesce(lines.net_quantity, 0) as decimal(18, 3)) as net_quantity,
    cast(coalesce(lines.net_weight_kg, 0) as decimal(18, 3)) as net_weight_kg,
    cast(coalesce(lines.net_discount, 0) as decimal(18, 3)) as net_discount,
    cast(coalesce(lines.net_tax, 0) as decimal(18, 3)) as net_tax,
    cast(coalesce(lines.net_amount, 0) as decimal(18, 3)) as net_amount,
    -- As for lines: a return or void takes back, whichever sign the till wrote.
    cast(case when receipts.kind = 'sale' then receipts.total else -abs(receipts.total) end as decimal(18, 3))
        as net_total,
    cast(coalesce(paid.by_coupon, 0) as decimal(18, 3)) as paid_by_coupon,
    cast(coalesce(paid.by_voucher, 0) as decimal(18, 3)) as paid_by_voucher,
    cast(coalesce(paid.by_cash, 0) as decimal(18, 3)) as paid_by_cash,
    cast(coalesce(paid.by_card, 0) as decimal(18, 3)) as paid_by_card,
    coalesce(undone.voids, 0) > 0 as was_voided,
    cast(coalesce(undone.returns, 0) as bigint) as returns,
    cast(coalesce(undone.amount, 0) as decimal(18, 3)) as undone_amount
from receipts
left join lines
    on receipts.store_id = lines.store_id
    and receipts.transaction_id = lines.transaction_id
left join paid
    on receipts.store_id = paid.store_id
    and receipts.transaction_id = paid.transaction_id
left join undone
    on receipts.store_id = undone.store_id
    and receipts.transaction_id = undone.original_transaction_id
left join {{ ref('dim_store') }} as store
    on receipts.store_id = store.store_id
    and {{ valid_at('store', 'receipts.event_time_utc') }}
where {{ is_touched(touched, 'receipts') }}
