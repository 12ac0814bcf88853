-- reason: the receipt is `new`, it has a product or is of a store with a `changed` version, what another new one `undid`,
-- or it is `undoing` one of these and only read for it.
{%- set known = as_it_was('fct_basket') %}
{%- set known_lines = as_it_was('fct_sale_line') %}
with new_receipts as (

    select store_id, transaction_id, original_transaction_id, event_date
    from {{ ref('stg_pos_transactions') }} as receipt
    where
        {{ counts('receipt') }}
        and {{ is_new('stg_pos_transactions', 'receipt') }}
        {{- ' and false' if refreshes() }}

),

touched as (

    select store_id, transaction_id, event_date, 'new' as reason
    from new_receipts

    {%- if known and known_lines and not refreshes() %}

    union

    select known.store_id, known.transaction_id, cast(known.event_time_utc as date), 'undone'
    from {{ known }} as known
    inner join new_receipts
        on known.store_id = new_receipts.store_id
        and known.transaction_id = new_receipts.original_transaction_id

    union

    -- What had been undone by the receipt that had a new one's number until now.
    select known.store_id, known.transaction_id, cast(known.event_time_utc as date), 'undone'
    from {{ known }} as known
    inner join {{ known }} as before
        on known.store_id = before.store_id
        and known.transaction_id = before.original_transaction_id
    inner join new_receipts
        on before.store_id = new_receipts.store_id
        and before.transaction_id = new_receipts.transaction_id

    union

    select known.store_id, known.transaction_id, cast(known.event_time_utc as date), 'changed'
    from {{ known }} as known
    inner join {{ ref('int_changed_version') }} as version
        on known.store_id = version.store_id
        and {{ near('version', 'known.event_time_utc') }}
    where version.dimension = 'store'

    union

    select line.store_id, line.transaction_id, cast(line.event_time_utc as date), 'changed'
    from {{ known_lines }} as line
    inner join {{ ref('int_changed_version') }} as version
        on line.product_id = version.changed_id
        and line.event_time_utc >= version.from_utc
        and line.event_time_utc < version.to_utc
        and (line.store_id = version.store_id or version.store_id = 'chain')
    where version.dimension = 'product'
    {%- endif %}

)

select store_id, transaction_id, event_date, reason
from touched

{%- if known and known_lines and not refreshes() %}

union

select known.store_id, known.transaction_id, cast(known.event_time_utc as date), 'undoing'
from {{ known }} as known
inner join touched
    on known.store_id = touched.store_id
    and known.original_transaction_id = touched.transaction_id
{%- endif %}
