{#- SCD type 2: valid_from_utc (included) and valid_to_utc (not included) of a version.
    The first version holds from the beginning of time, so that every fact finds one; the newest has no end. -#}
{% macro valid_from_to(key, changed_at) -%}
case
        when lag({{ changed_at }}) over (partition by {{ key }} order by {{ changed_at }}) is null
            then {{ time_begins() }}
        else {{ changed_at }}
    end as valid_from_utc,
    coalesce(
        lead({{ changed_at }}) over (partition by {{ key }} order by {{ changed_at }}),
        {{ time_ends() }}
    ) as valid_to_utc,
    lead({{ changed_at }}) over (partition by {{ key }} order by {{ changed_at }}) is null as is_current
{%- endmacro %}

{#- Of several events for the same key and instant, the one that arrived last counts: rank 1. -#}
{% macro newest_first(key, changed_at) -%}
row_number() over (partition by {{ key }}, {{ changed_at }} order by arrived_at_utc desc, event_id desc)
{%- endmacro %}

{#- Join condition: the version that was valid at an instant. -#}
{% macro valid_at(version, instant_utc) -%}
{{ instant_utc }} >= {{ version }}.valid_from_utc and {{ instant_utc }} < {{ version }}.valid_to_utc
{%- endmacro %}

{#- The time for which the row of something holds that events name and no dimension knows: all of it. -#}
{% macro valid_always() -%}
{{ time_begins() }} as valid_from_utc,
    {{ time_ends() }} as valid_to_utc,
    true as is_current
{%- endmacro %}
