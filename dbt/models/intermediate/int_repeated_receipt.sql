{{ config(materialized='incremental', incremental_strategy='append', meta={'kept': {'all': true}}) }}
-- Of receipts with one number in one store the earliest counts; the others are here, and in no fact.
{%- set before = before_refresh() -%}
{%- set known = as_it_was('fct_basket') if goes_on() else none %}
with new_receipts as (

    select store_id, transaction_id, event_id, event_time_utc
    from {{ ref('stg_pos_transactions') }} as receipt
    {%- if goes_on() %}
    where {{ is_new('stg_pos_transactions', 'receipt') }}
    {%- endif %}

),

receipts as (

    select store_id, transaction_id, event_id, event_time_utc
    from new_receipts
    {%- if known %}

    union

    select known.store_id, known.transaction_id, known.event_id, known.event_time_utc
    from {{ known }} as known
    inner join new_receipts
        on known.store_id = new_receipts.store_id
        and known.transaction_id = new_receipts.transaction_id
    {%- endif %}

),

in_order as (

    select
        *,
        row_number() over (partition by store_id, transaction_id order by event_time_utc, event_id) as place
    from receipts

),

found as (

    select store_id, transaction_id, event_id, event_time_utc
    from in_order
    where place > 1
    {%- if before %}

    union

    select store_id, transaction_id, event_id, event_time_utc
    from {{ before }}
    {%- endif %}

)

select store_id, transaction_id, event_id, event_time_utc
from found
{%- if goes_on() %}
where found.event_id not in (select known.event_id from {{ this }} as known)
{%- endif %}
