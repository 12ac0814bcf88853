{#- Of the rows that are the same in the columns of `by`, the expression is untrue of at most so many. -#}
{% test rarely_untrue(model, expression, by, at_most) %}
select {{ by | join(', ') }}, count(*) as times
from {{ model }}
where not ({{ expression }})
group by {{ by | join(', ') }}
having count(*) > {{ at_most }}
{% endtest %}
