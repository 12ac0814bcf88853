{%- set touched = [{'by': 'int_touched_receipt', 'key': ['store_id', 'transaction_id'], 'only': "reason = 'new'"}] -%}
{%- set kept = {'at': 'event_time_utc', 'from': ['stg_pos_transactions'], 'persons': ['customer_id']} -%}
{{ config(materialized='incremental', incremental_strategy='touched', meta={'touched': touched, 'kept': kept}) }}
-- depends_on: {{ ref('int_touched_receipt') }}
select
    receipt.event_id,
    receipt.event_time_utc,
    receipt.store_id,
    receipt.transaction_id,
    receipt.kind,
    receipt.original_transaction_id,
    receipt.channel,
    receipt.lane_id,
    receipt.customer_id,
    receipt.currency,
    {{ struct_field('line', 'line_no', 'bigint') }} as line_no,
    {{ product_code('coalesce(' ~ struct_field('line', 'gtin', 'varchar') ~ ', ' ~ struct_field('line', 'plu', 'varchar') ~ ')') }} as product_id,
    {{ struct_field('line', 'department', 'varchar') }} as department,
    cast({{ struct_field('line', 'quantity') }} as decimal(18, 3)) as quantity,
    cast({{ struct_field('line', 'weight') }} as decimal(18, 3)) as weight_kg,
    {{ major_units(struct_field('line', 'unit_price', 'bigint'), 'receipt.currency') }} as unit_price,
    {{ major_units(struct_field('line', 'discount', 'bigint'), 'receipt.currency') }} as discount,
    {{ major_units(struct_field('line', 'tax', 'bigint'), 'receipt.currency') }} as tax,
    {{ major_units(struct_field('line', 'amount', 'bigint'), 'receipt.currency') }} as amount,
    {{ struct_field('line', 'voided', 'boolean') }} as is_voided
from {{ ref('stg_pos_transactions') }} as receipt
{{ each_element('receipt.lines', 'line') }}
where
    {{ counts('receipt') }}
    {%- if goes_on() %}
    and {{ is_new('stg_pos_transactions', 'receipt') }}
    {%- endif %}
