-- Dimensions are built all the same: of several changes at one instant newest_first chooses one, and a store's own price
-- makes the product known there.
{%- set parts = [
    ('store', 'stg_stores', 'store_id', 'store_id'),
    ('asset', 'stg_assets', 'asset_id', 'asset_id'),
    ('product', 'stg_products', 'product_id', 'store_id, product_id'),
] %}
with changes as (

    {%- for dimension, source, id, key in parts %}
    select
        cast('{{ dimension }}' as varchar) as dimension,
        store_id,
        {{ id }} as subject_id,
        changed_at_utc,
        arrived_at_utc,
        event_id,
        {{ newest_first(key, 'changed_at_utc') }} as newest
    from {{ ref(source) }}
    {{ 'union all' if not loop.last }}
    {%- endfor %}

),

of_the_chain as (

    select distinct subject_id
    from changes
    where dimension = 'product' and store_id = 'chain'

)

select
    cast('two versions at one instant' as varchar) as finding,
    beaten.dimension,
    beaten.store_id,
    beaten.subject_id,
    beaten.changed_at_utc,
    beaten.arrived_at_utc,
    beaten.event_id,
    standing.event_id as standing_event_id
from changes as beaten
inner join changes as standing
    on beaten.dimension = standing.dimension
    and beaten.subject_id = standing.subject_id
    and beaten.changed_at_utc = standing.changed_at_utc
    and (beaten.dimension <> 'product' or beaten.store_id = standing.store_id)
where beaten.newest > 1 and standing.newest = 1

union all

-- Where the chain keeps no list of its own, every store's is one.
select
    cast('price of an unknown product' as varchar) as finding,
    priced.dimension,
    priced.store_id,
    priced.subject_id,
    priced.changed_at_utc,
    priced.arrived_at_utc,
    priced.event_id,
    cast(null as varchar) as standing_event_id
from changes as priced
left join of_the_chain on priced.subject_id = of_the_chain.subject_id
where
    priced.dimension = 'product'
    and priced.store_id <> 'chain'
    and of_the_chain.subject_id is null
    and (select count(*) from of_the_chain) > 0

union all

select
    cast('receipt number given twice' as varchar) as finding,
    cast('receipt' as varchar) as dimension,
    repeated.store_id,
    repeated.transaction_id as subject_id,
    repeated.event_time_utc as changed_at_utc,
    cast(null as timestamp) as arrived_at_utc,
    repeated.event_id,
    standing.event_id as standing_event_id
from {{ ref('int_repeated_receipt') }} as repeated
left join {{ ref('fct_basket') }} as standing
    on repeated.store_id = standing.store_id
    and repeated.transaction_id = standing.transaction_id
