/* Schemas against the rules, the newest partition, and each other. */
#include <inttypes.h>

#include "common/base/alloc.h"
#include "common/base/text.h"
#include "stages/data-validate/dataset.h"

static const struct part *first_part(const struct dataset *d, size_t partition)
{
    for (size_t i = 0; i < d->n_parts; i++) {
        if (d->parts[i].partition == partition)
            return &d->parts[i];
    }
    return NULL;
}

static bool in_folders(const struct part *p, const char *name)
{
    _cleanup_free_ char *mark = xasprintf("%s=", name);
    const char *at = strstr(p->file->key, mark);
    return at && (at == p->file->key || at[-1] == '/') && strchr(at, '/');
}

/* --- listed columns ----------------------------------------------------------------------------------------- */

/* Text formats infer text when one value does not fit: count those, and show one. */
static int count_misfits(struct dataset *d, const struct part *p, const struct column_rule *c, int64_t *ret_n,
                         char **ret_example, struct err *err)
{
    struct schema *types = schema_copy(p->found);
    schema_set_type(types, c->name, "VARCHAR");
    _cleanup_free_ char *reader = schema_reader(p->file->format, p->staged, types);
    schema_free(types);
    _cleanup_free_ char *ident = table_quote_ident(c->name);
    const char *type = schema_duckdb_type(c->type);
    if (table_query_int(d->tables[0], ret_n, NULL, err,
                        "SELECT count(*) FROM %s WHERE %s IS NOT NULL AND TRY_CAST(%s AS %s) IS NULL", reader,
                        ident, ident, type) < 0)
        return -1;
    return table_query_string(
        d->tables[0], ret_example, err,
        "SELECT coalesce(min(%s), '') FROM %s WHERE %s IS NOT NULL AND TRY_CAST(%s AS %s) IS NULL", ident,
        reader, ident, ident, type);
}

static int check_type(struct dataset *d, const struct part *p, const struct column_rule *c,
                      const struct schema_column *found, bool *ret_wrong, char **ret_note, struct err *err)
{
    bool text = p->file->format != FORMAT_PARQUET;
    *ret_wrong = schema_fit(found->type, c->type, text) == TYPE_WRONG;
    if (!*ret_wrong || !text || !text_equal(found->type, "VARCHAR"))
        return 0;
    int64_t n;
    _cleanup_free_ char *example = NULL;
    if (count_misfits(d, p, c, &n, &example, err) < 0)
        return -1;
    *ret_wrong = n > 0;
    if (n > 0)
        *ret_note = xasprintf(" (%" PRId64 " values are no %s, for example \"%.60s\")", n, c->type, example);
    return 0;
}

static int check_listed(struct dataset *d, const struct column_rule *c, struct findings *findings,
                        struct err *err)
{
    size_t missing = 0, wrong = 0;
    const struct part *missing_in = NULL, *wrong_in = NULL;
    const char *wrong_type = NULL;
    _cleanup_free_ char *note = NULL;
    for (size_t i = 0; i < d->n_parts; i++) {
        const struct part *p = &d->parts[i];
        const struct schema_column *found = schema_find(p->found, c->name);
        if (!found && in_folders(p, c->name))
            continue;
        if (!found) {
            missing++;
            missing_in = p; /* the newest is named */
            continue;
        }
        bool is_wrong = false;
        _cleanup_free_ char *why = NULL;
        if (c->type && check_type(d, p, c, found, &is_wrong, &why, err) < 0)
            return -1;
        if (is_wrong) {
            wrong++;
            wrong_in = p;
            wrong_type = found->type;
            free(note);
            note = steal_ptr(why);
        }
    }
    if (missing) {
        const char **names = xcalloc(missing_in->found->n + 1, sizeof *names);
        for (size_t i = 0; i < missing_in->found->n; i++)
            names[i] = missing_in->found->columns[i].name;
        const char *near = text_nearest(c->name, names);
        free(names);
        (void)findings_add(
            findings, FINDING_SCHEMA, c->level, c->name, (double)missing,
            "column %s is missing in %zu of %zu files, such as partition %s: expected a column %s%s%s, found none%s%s%s; restore it at its producer, or take it out of columns",
            c->name, missing, d->n_parts, dataset_partition(d, missing_in)->name, c->name,
            c->type ? " of type " : "", c->type ? c->type : "", near ? " (but \"" : "", near ? near : "",
            near ? "\")" : "");
    }
    if (wrong)
        (void)findings_add(
            findings, FINDING_SCHEMA, c->level, c->name, (double)wrong,
            "column %s has the wrong type in %zu of %zu files, such as partition %s: expected type %s, found %s%s; repair the partition, or change the type in columns",
            c->name, wrong, d->n_parts, dataset_partition(d, wrong_in)->name, c->type, wrong_type,
            note ? note : "");
    return 0;
}

/* --- unlisted columns --------------------------------------------------------------------------------------- */

/* What the partition before had must still be there. */
static void check_gone(const struct dataset *d, const struct part *newest, struct findings *findings)
{
    const struct part *previous = d->newest > 0 ? first_part(d, d->newest - 1) : NULL;
    for (size_t i = 0; previous && i < previous->found->n; i++) {
        const char *name = previous->found->columns[i].name;
        if (!schema_find(newest->found, name) && !config_column(d->config, name))
            (void)findings_add(
                findings, FINDING_SCHEMA, LEVEL_ERROR, name, 1,
                "column %s is missing in partition %s: expected what partition %s has (%s), found no such column; restore it, or drop it from older partitions, too",
                name, dataset_partition(d, newest)->name, dataset_partition(d, previous)->name,
                previous->found->columns[i].type);
    }
}

/* The snapshot's type of a column no rule lists: what holds all partitions' values. */
static void settle_unlisted(struct dataset *d, struct schema *schema, size_t at, struct findings *findings)
{
    const char *name = schema->columns[at].name;
    for (size_t i = 0; i < d->n_parts; i++) {
        const struct part *p = &d->parts[i];
        const struct schema_column *found = schema_find(p->found, name);
        if (!found)
            continue;
        const char *both = schema_unify(schema->columns[at].type, found->type);
        if (!both && p->file->format != FORMAT_PARQUET)
            both = "VARCHAR"; /* inferred types: the text is what is sure */
        if (!both) {
            (void)findings_add(
                findings, FINDING_SCHEMA, LEVEL_ERROR, name, 1,
                "column %s changed its type: expected %s as in partition %s, found %s in partition %s; repair the one that is wrong, or list the column with its type",
                name, found->type, dataset_partition(d, p)->name, schema->columns[at].type,
                d->source->partitions[d->newest].name);
            return;
        }
        schema_set_type(schema, name, both);
    }
}

static void settle_listed(struct schema *schema, size_t at, const struct column_rule *c, bool text)
{
    const char *found = schema->columns[at].type;
    if (schema_fit(found, c->type, text) == TYPE_WIDENS || (text && c->level == LEVEL_ERROR))
        schema_set_type(schema, schema->columns[at].name, schema_duckdb_type(c->type));
}

static void append_column(struct schema *s, const char *name, const char *type)
{
    s->columns = xreallocarray(s->columns, s->n + 1, sizeof *s->columns);
    s->columns[s->n++] = (struct schema_column){xstrdup(name), xstrdup(type)};
}

int dataset_check_schema(struct dataset *d, struct findings *findings, struct err *err)
{
    const struct part *newest = first_part(d, d->newest);
    for (size_t i = 0; i < d->config->n_columns; i++) {
        if (check_listed(d, &d->config->columns[i], findings, err) < 0)
            return -1;
    }
    check_gone(d, newest, findings);
    _cleanup_schema_ struct schema *schema = schema_copy(newest->found);
    for (size_t i = 0; i < schema->n; i++) {
        const struct column_rule *c = config_column(d->config, schema->columns[i].name);
        if (c && c->type)
            settle_listed(schema, i, c, newest->file->format != FORMAT_PARQUET);
        else
            settle_unlisted(d, schema, i, findings);
    }
    for (size_t i = 0; i < d->config->n_columns; i++) {
        const struct column_rule *c = &d->config->columns[i];
        if (!schema_find(schema, c->name) && in_folders(newest, c->name))
            append_column(schema, c->name, c->type ? schema_duckdb_type(c->type) : "VARCHAR");
    }
    if (findings_count(findings, LEVEL_ERROR) == 0)
        d->schema = steal_ptr(schema);
    return 0;
}
