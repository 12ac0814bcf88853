{%- set touched = [{'by': 'int_touched_receipt', 'key': ['store_id', 'transaction_id'], 'only': "reason = 'new'"}] -%}
{%- set kept = {'at': 'event_time_utc', 'from': ['stg_pos_transactions']} -%}
{{ config(materialized='incremental', incremental_strategy='touched', meta={'touched': touched, 'kept': kept}) }}
-- depends_on: {{ ref('int_touched_receipt') }}
with tenders as (

    select
        receipt.store_id,
        receipt.transaction_id,
        receipt.event_time_utc,
        receipt.currency,
        cast({{ struct_field('tender', 'kind') }} as varchar) as tender_kind,
        cast({{ struct_field('tender', 'amount') }} as bigint) as amount_minor
    from {{ ref('stg_pos_transactions') }} as receipt
    {{ each_element('receipt.tenders', 'tender') }}
    where
        {{ counts('receipt') }}
        {%- if goes_on() %}
        and {{ is_new('stg_pos_transactions', 'receipt') }}
        {%- endif %}

)

select
    store_id,
    transaction_id,
    tender_kind,
    max(event_time_utc) as event_time_utc,
    {{ major_units('sum(amount_minor)', 'max(currency)') }} as paid
from tenders
group by store_id, transaction_id, tender_kind
