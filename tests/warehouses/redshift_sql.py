"""What Redshift would object to in a query, as far as a parser and AWS' documentation can tell.

Four nets: functions must be on a list that was looked up one by one; known traps of PostgreSQL's and DuckDB's SQL are
refused by name; so are correlated subqueries that AWS lists; and reserved words are no names. Sources are pages of the
Amazon Redshift Database Developer Guide, docs.aws.amazon.com/redshift/latest/dg/<page>.html.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import sqlglot
from sqlglot import exp
from sqlglot.optimizer.scope import Scope, traverse_scope
from sqlglot.tokens import TokenType

UNSUPPORTED = "c_unsupported-postgresql-functions"

# Each has its page in the guide. One that is new in a model is looked up and added, or a macro says it otherwise.
_FUNCTIONS = """
    abs avg cast ceil coalesce convert_timezone count date_trunc dateadd datediff extract floor get_array_length
    greatest lag lead least length listagg lower lpad max min mod nullif power round row_number substring sum trim
    upper"""
FUNCTIONS = set(_FUNCTIONS.split())
# Not there, or not what it is elsewhere.
DENIED_FUNCTIONS = {
    "string_agg": f"{UNSUPPORTED}; LISTAGG",
    "array_agg": UNSUPPORTED,
    "every": UNSUPPORTED,
    "unnest": f"{UNSUPPORTED}, array functions; a SUPER array is named in FROM",
    "generate_series": f"{UNSUPPORTED}; on the leader node only, so not with tables",
    "clock_timestamp": UNSUPPORTED,
    "width_bucket": UNSUPPORTED,
    "div": UNSUPPORTED,
    "substr": "c_SQL_functions_leader_node_only; SUBSTRING",
    "now": "c_SQL_functions_leader_node_only; GETDATE",
    "age": "c_SQL_functions_leader_node_only; DATEDIFF",
    "list": "DuckDB's",
    "struct_extract": "DuckDB's",
    "map_extract_value": "DuckDB's",
    "date_add": "Athena's; DATEADD",
    "at_timezone": "Athena's; CONVERT_TIMEZONE",
    "with_timezone": "Athena's; CONVERT_TIMEZONE",
    "element_at": "Athena's",
    "arbitrary": "Athena's; ANY_VALUE",
}
# c_unsupported-postgresql-datatypes, and types of other warehouses.
_TYPES = "ARRAY JSON JSONB UUID XML BIT MONEY HSTORE INT128 STRUCT MAP LIST ROW"
DENIED_TYPES = set(_TYPES.split())
# r_pg_keywords
_RESERVED = """
    aes128 aes256 all allowoverwrite analyse analyze and any array as asc authorization az64 backup between binary
    blanksasnull both bytedict bzip2 case cast check collate column constraint create credentials cross
    current_date current_time current_timestamp current_user current_user_id default deferrable deflate defrag delta
    delta32k desc disable distinct do else emptyasnull enable encode encrypt encryption end except explicit false for
    foreign freeze from full globaldict256 globaldict64k grant group gzip having identity ignore ilike in initially
    inner intersect interval into is isnull join leading left like limit localtime localtimestamp lun luns lzo lzop
    minus mostly16 mostly32 mostly8 natural new not notnull null nulls off offline offset oid old on only open or order
    outer overlaps parallel partition percent permissions pivot placing primary raw readratio recover references
    rejectlog resort respect restore right select session_user similar snapshot some sysdate system table tag tdes
    text255 text32k then timestamp to top trailing true truncatecolumns union unique unnest unpivot user using
    verbose wallet when where with without"""
RESERVED = set(_RESERVED.split())

BOOLEAN = (exp.Predicate, exp.Not, exp.And, exp.Or, exp.Boolean)


def _instant(node: exp.Expression) -> bool:
    """Whether it is plainly a timestamp: gold's instants end in _utc."""
    node = node.unnest()
    if isinstance(node, exp.Column):
        return node.name.endswith("_utc")
    is_cast = isinstance(node, exp.Cast) and node.is_type("timestamp")
    return is_cast or isinstance(node, exp.TimestampTrunc | exp.DateTrunc)


def _frameless(node: exp.Expression) -> bool:
    over = isinstance(node, exp.Window) and node.args.get("order") and not node.args.get("spec")
    return bool(over) and isinstance(node.this, exp.Sum | exp.Count | exp.Min | exp.Max | exp.Avg)


def _on_instants(node: exp.Expression) -> bool:
    return isinstance(node, exp.Sub | exp.Add) and (_instant(node.left) or _instant(node.right))


def _extreme_of_boolean(node: exp.Expression) -> bool:
    return isinstance(node, exp.Max | exp.Min) and isinstance(node.this.unnest(), BOOLEAN)


def _lag_with_default(node: exp.Expression) -> bool:
    return isinstance(node, exp.Lag | exp.Lead) and node.args.get("default") is not None


def _distinct(node: exp.Expression) -> bool:
    return isinstance(node, exp.Distinct)


# (what, why or which page, how it is told)
STRUCTURES: tuple[tuple[str, str, Callable[[exp.Expression], bool]], ...] = (
    ("FILTER clause", "c_Aggregate_Functions: not in their syntax; CASE", lambda n: isinstance(n, exp.Filter)),
    ("LATERAL", "r_FROM_clause30: not in its syntax", lambda n: isinstance(n, exp.Lateral)),
    ("array", f"{UNSUPPORTED}: array functions and operators", lambda n: isinstance(n, exp.Array | exp.Bracket)),
    ("IS DISTINCT FROM", UNSUPPORTED, lambda n: isinstance(n, exp.NullSafeEQ | exp.NullSafeNEQ)),
    ("interval", "DATEADD says it in both warehouses", lambda n: isinstance(n, exp.Interval)),
    ("arithmetic on timestamps", "r_interval_data_types: its type is INTERVAL; DATEDIFF, DATEADD", _on_instants),
    ("AT TIME ZONE", "CONVERT_TIMEZONE says it with a column as zone", lambda n: isinstance(n, exp.AtTimeZone)),
    ("MIN or MAX of a boolean", "r_MAX: no such type; BOOL_OR or CASE", _extreme_of_boolean),
    ("aggregate OVER (ORDER BY) without a frame", "r_Window_function_synopsis: a frame is required", _frameless),
    ("default of LAG or LEAD", "r_WF_LAG: no such argument; COALESCE", _lag_with_default),
    ("DISTINCT ON", "r_SELECT_list: not in its syntax; ROW_NUMBER", lambda n: bool(n.args.get("on")) and _distinct(n)),
    ("COUNT(DISTINCT) of several", "r_COUNT: one expression", lambda n: _distinct(n) and len(n.expressions) > 1),
    ("VALUES in FROM", "r_FROM_clause30: not in its syntax", lambda n: isinstance(n, exp.Values)),
    ("lambda", "DuckDB's and Athena's", lambda n: isinstance(n, exp.Lambda)),
)


def objections(sql: str) -> list[str]:
    """Each once, in plain words; none for a query that nothing is known against. Raises sqlglot's ParseError."""
    return list(dict.fromkeys(_objections(sql)))


def _objections(sql: str) -> Iterator[str]:
    # By tokens, because the parser makes one thing of LISTAGG and STRING_AGG.
    tokens = sqlglot.tokenize(sql, read="redshift")
    for token, following in zip(tokens, tokens[1:], strict=False):
        name = token.text.lower()
        if following.token_type != TokenType.L_PAREN or not _is_name(token.token_type):
            continue
        if name in DENIED_FUNCTIONS:
            yield f"function {name}: {DENIED_FUNCTIONS[name]}"
        elif name not in FUNCTIONS | KEYWORDS:
            yield f"function {name}: not looked up yet; see that Redshift has it, and add it to FUNCTIONS"
    for statement in sqlglot.parse(sql, read="redshift"):
        for scope in traverse_scope(statement) if isinstance(statement, exp.Query) else ():
            yield from _of_correlated(scope)
        for node in statement.walk() if statement else ():
            for what, why, told_by in STRUCTURES:
                if told_by(node):
                    yield f"{what}: {why}"
            if isinstance(node, exp.DataType) and node.this.value in DENIED_TYPES:
                yield f"type {node.this.value}: c_unsupported-postgresql-datatypes"
            if isinstance(node, exp.Identifier) and not node.quoted and node.name.lower() in RESERVED:
                yield f"name {node.name}: a reserved word (r_pg_keywords)"


def _of_correlated(scope: Scope) -> Iterator[str]:
    """What r_correlated_subqueries names. Columns without a table are taken to be the subquery's own."""
    outer = [column for column in scope.external_columns if column.table]
    if not (scope.is_subquery and outer and scope.parent):
        return
    page = "r_correlated_subqueries"
    if skipped := [column.sql() for column in outer if column.table not in scope.parent.sources]:
        yield f"correlated subquery past the one around it, {skipped[0]}: {page}"
    join = scope.expression.find_ancestor(exp.Join, exp.Select)
    if isinstance(join, exp.Join) and join.side:
        yield f"correlated subquery in ON of an outer join: {page}"
    if scope.find(exp.Window):
        yield f"correlated subquery with a window function: {page}"


# Followed by a bracket without being a function, types with a length among them.
_KEYWORDS = """
    all and as by case distinct else exists from group in join not on or over select then union using when where with
    within decimal numeric varchar"""
KEYWORDS = set(_KEYWORDS.split())


def _is_name(kind: TokenType) -> bool:
    return kind not in {TokenType.STRING, TokenType.NUMBER, TokenType.IDENTIFIER} and kind.name not in _SIGNS


_NAMES = "L_PAREN R_PAREN COMMA PLUS DASH STAR SLASH EQ NEQ LT LTE GT GTE DPIPE DOT DCOLON SEMICOLON MOD"
_SIGNS = set(_NAMES.split())
