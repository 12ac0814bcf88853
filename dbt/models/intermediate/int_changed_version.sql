-- The time for which a version holds that a new row of silver made or replaced: before it, another one held then.
{%- set parts = [
    ('store', 'stg_stores', 'dim_store', 'store_id', ['store_id']),
    ('asset', 'stg_assets', 'dim_asset', 'asset_id', ['asset_id']),
    ('product', 'stg_products', 'dim_product', 'product_id', ['store_id', 'product_id']),
] %}
{%- for dimension, changes, versions, id, key in parts %}
select distinct
    '{{ dimension }}' as dimension,
    change.store_id,
    change.{{ id }} as changed_id,
    version.valid_from_utc as from_utc,
    version.valid_to_utc as to_utc
from {{ ref(changes) }} as change
inner join {{ ref(versions) }} as version
    on {% for column in key %}change.{{ column }} = version.{{ column }} and {% endfor %}{{ valid_at('version', 'change.changed_at_utc') }}
where {{ is_new(changes, 'change') }}
    {{- ' and false' if refreshes() }}
{{ 'union all' if not loop.last }}
{%- endfor %}
