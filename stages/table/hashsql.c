/* Named hashes as SQL functions: see hashsql.h. */
#include "stages/table/hashsql.h"

#include <stdbool.h>
#include <stdint.h>

#include "stages/tensor/featurehash.h"

static bool valid_at(const uint64_t *mask, idx_t row)
{
    return !mask || (mask[row / 64] >> (row % 64) & 1);
}

static void hash_chunk(duckdb_data_chunk input, duckdb_vector output, bool text)
{
    idx_t n = duckdb_data_chunk_get_size(input);
    duckdb_vector value = duckdb_data_chunk_get_vector(input, 0),
                  seed = duckdb_data_chunk_get_vector(input, 1);
    const uint64_t *value_mask = duckdb_vector_get_validity(value),
                   *seed_mask = duckdb_vector_get_validity(seed);
    void *values = duckdb_vector_get_data(value);
    const int64_t *seeds = duckdb_vector_get_data(seed);
    int64_t *out = duckdb_vector_get_data(output);
    uint64_t *out_mask = NULL;
    for (idx_t i = 0; i < n; i++) {
        if (!valid_at(value_mask, i) || !valid_at(seed_mask, i)) {
            if (!out_mask) {
                duckdb_vector_ensure_validity_writable(output);
                out_mask = duckdb_vector_get_validity(output);
            }
            duckdb_validity_set_row_invalid(out_mask, i);
            out[i] = 0;
        } else if (text) {
            duckdb_string_t *s = (duckdb_string_t *)values + i;
            out[i] = (int64_t)featurehash_text(duckdb_string_t_data(s), duckdb_string_t_length(*s),
                                               (uint64_t)seeds[i]);
        } else {
            out[i] = (int64_t)featurehash_i64(((const int64_t *)values)[i], (uint64_t)seeds[i]);
        }
    }
}

static void hash_integers(duckdb_function_info info, duckdb_data_chunk input, duckdb_vector output)
{
    (void)info;
    hash_chunk(input, output, false);
}

static void hash_texts(duckdb_function_info info, duckdb_data_chunk input, duckdb_vector output)
{
    (void)info;
    hash_chunk(input, output, true);
}

static int register_one(duckdb_connection connection, const char *name, duckdb_type value_type,
                        duckdb_scalar_function_t function, struct err *err)
{
    duckdb_scalar_function f = duckdb_create_scalar_function();
    duckdb_logical_type value = duckdb_create_logical_type(value_type),
                        bigint = duckdb_create_logical_type(DUCKDB_TYPE_BIGINT);
    duckdb_scalar_function_set_name(f, name);
    duckdb_scalar_function_add_parameter(f, value);
    duckdb_scalar_function_add_parameter(f, bigint);
    duckdb_scalar_function_set_return_type(f, bigint);
    duckdb_scalar_function_set_function(f, function);
    duckdb_state state = duckdb_register_scalar_function(connection, f);
    duckdb_destroy_logical_type(&value);
    duckdb_destroy_logical_type(&bigint);
    duckdb_destroy_scalar_function(&f);
    return state == DuckDBSuccess
               ? 0
               : err_set(err, ERR_TERMINAL, "the query engine refuses the function %s", name);
}

int hashsql_register(duckdb_connection connection, struct err *err)
{
    if (register_one(connection, "trainyard_xxh64", DUCKDB_TYPE_BIGINT, hash_integers, err) < 0)
        return -1;
    return register_one(connection, "trainyard_xxh64_text", DUCKDB_TYPE_VARCHAR, hash_texts, err);
}
