/*
 * The engine's settings: what was measured for the trace (docs/decisions), and small for everything else.
 *
 * Memory: a quarter of the budget for all memtables together, the rest one shared LRU cache of blocks.
 * A family is one of four kinds: STATE (leveled, bloom on whole keys), STATUS (the same, but a sorted file comes at every
 * flush of the trace: they are merged sixteen at a time), JOURNAL (leveled: keys only grow, so files are moved down
 * without being rewritten; not compressed, its values are), BLOCKS (universal, bloom on the first 16 bytes of the key,
 * whole keys not in the bloom; LZ4 while blocks are still merged, zstd when store_cf_compact() merges them for good).
 * Nothing periodic is left on but the engine's own info-log flush (one thread, every 10 s), which its C API
 * can't switch off.
 */
#include <string.h>

#include "store/store_priv.h"

enum { MIB = 1 << 20 };
/* What fails is told by the calls; see open_with_log(). */
enum { LOG_LEVEL_FATAL = 4 };
/* Merging reads one block of 4 KiB at a time: that many system calls, or one for so much of a file. */
enum { READAHEAD = 256 << 10 };

/* Device blocks "d…" and refused or unidentified "x…"; every other segment is a journal. */
enum family_kind store_kind_of(const char *name, int family)
{
    if (family >= 0) {
        return family == STORE_DEVICES || family == STORE_OPEN ? KIND_STATUS : KIND_STATE;
    }
    return name[0] == 'd' || name[0] == 'x' ? KIND_BLOCKS : KIND_JOURNAL;
}

static uint64_t clamp(uint64_t v, uint64_t low, uint64_t high)
{
    return v < low ? low : v > high ? high : v;
}

static void set_database(rocksdb_options_t *o, uint64_t memory_bytes)
{
    rocksdb_options_set_create_if_missing(o, 1);
    rocksdb_options_set_create_missing_column_families(o, 1);
    rocksdb_options_set_paranoid_checks(o, 1);
    rocksdb_options_set_wal_recovery_mode(o, rocksdb_point_in_time_recovery);
    rocksdb_options_set_max_total_wal_size(o, clamp(memory_bytes, 64 * MIB, 1024 * MIB));
    rocksdb_options_set_db_write_buffer_size(o, clamp(memory_bytes / 4, 4 * MIB, 256 * MIB));
    rocksdb_options_set_max_open_files(o, -1);
    rocksdb_options_set_max_file_opening_threads(o, 2);
    rocksdb_options_set_max_background_jobs(o, 2);
    rocksdb_options_set_skip_stats_update_on_db_open(o, 1);
    rocksdb_options_set_avoid_unnecessary_blocking_io(o, 1);
    rocksdb_options_set_bytes_per_sync(o, MIB);
    rocksdb_options_compaction_readahead_size(o, READAHEAD);
    rocksdb_options_set_info_log_level(o, LOG_LEVEL_FATAL);
    rocksdb_options_set_keep_log_file_num(o, 2);
    rocksdb_options_set_max_log_file_size(o, 4 * MIB);
    rocksdb_options_set_stats_dump_period_sec(o, 0);
    rocksdb_options_set_stats_persist_period_sec(o, 0);
}

static void set_table(rocksdb_options_t *o, rocksdb_cache_t *cache, bool whole_key)
{
    rocksdb_block_based_table_options_t *t = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_block_size(t, 4096);
    rocksdb_block_based_options_set_format_version(t, 5);
    rocksdb_block_based_options_set_block_cache(t, cache);
    rocksdb_block_based_options_set_filter_policy(t, rocksdb_filterpolicy_create_bloom_full(10));
    rocksdb_block_based_options_set_whole_key_filtering(t, whole_key);
    rocksdb_options_set_block_based_table_factory(o, t);
    rocksdb_block_based_options_destroy(t);
}

static void set_zstd(rocksdb_options_t *o)
{
    rocksdb_options_set_compression(o, rocksdb_zstd_compression);
    rocksdb_options_set_compression_options(o, -14, 1, 0,
                                            0); /* window bits, level, strategy, dictionary */
}

static void set_state(rocksdb_options_t *o)
{
    rocksdb_options_set_level_compaction_dynamic_level_bytes(o, 1);
    set_zstd(o);
}

/* Files come only when a buffer is flushed: they need not slow down all writes, as twenty would by default. */
static void set_many_files(rocksdb_options_t *o, int trigger)
{
    rocksdb_options_set_level0_file_num_compaction_trigger(o, trigger);
    rocksdb_options_set_level0_slowdown_writes_trigger(o, 60);
    rocksdb_options_set_level0_stop_writes_trigger(o, 100);
}

static void set_status(rocksdb_options_t *o)
{
    set_state(o);
    set_many_files(o, 16);
}

static void set_journal(rocksdb_options_t *o)
{
    rocksdb_options_set_compression(o, rocksdb_no_compression);
    rocksdb_options_set_max_write_buffer_number(o, 4);
}

static void set_blocks(rocksdb_options_t *o)
{
    rocksdb_universal_compaction_options_t *u = rocksdb_universal_compaction_options_create();
    rocksdb_universal_compaction_options_set_size_ratio(u, 10);
    rocksdb_universal_compaction_options_set_min_merge_width(u, 4);
    rocksdb_options_set_compaction_style(o, rocksdb_universal_compaction);
    rocksdb_options_set_universal_compaction_options(o, u);
    rocksdb_universal_compaction_options_destroy(u);
    set_many_files(o, 8);
    rocksdb_options_set_prefix_extractor(
        o, rocksdb_slicetransform_create_fixed_prefix(STORE_BLOCKS_PREFIX));
    rocksdb_options_set_compression(o, rocksdb_lz4_compression);
    rocksdb_options_set_bottommost_compression_options(o, -14, 1, 0, 0,
                                                       1); /* level 1, as set_zstd() */
}

/* A sorted file is a run at the top: compressed fast, well only when it comes to rest. */
static rocksdb_options_t *sorted_file_options(rocksdb_options_t *family)
{
    rocksdb_options_t *o = rocksdb_options_create_copy(family);
    rocksdb_options_set_compression(o, rocksdb_lz4_compression);
    return o;
}

static void init_families(struct engine_options *o, uint64_t memory_bytes)
{
    uint64_t buffer[KIND_COUNT] = {
        [KIND_STATE] = clamp(memory_bytes / 32, MIB, 8 * MIB),
        [KIND_STATUS] = clamp(memory_bytes / 32, MIB, 8 * MIB),
        [KIND_JOURNAL] = clamp(memory_bytes / 8, 2 * MIB, 32 * MIB),
        [KIND_BLOCKS] = clamp(memory_bytes / 32, MIB, 8 * MIB),
    };
    for (int k = 0; k < KIND_COUNT; k++) {
        rocksdb_options_t *f = rocksdb_options_create();
        o->family[k] = f;
        rocksdb_options_set_env(f, o->env);
        set_database(f, memory_bytes);
        rocksdb_options_set_write_buffer_size(f, buffer[k]);
        rocksdb_options_set_arena_block_size(f, 128 * 1024);
        set_table(f, o->cache, k != KIND_BLOCKS);
    }
    set_state(o->family[KIND_STATE]);
    set_status(o->family[KIND_STATUS]);
    set_journal(o->family[KIND_JOURNAL]);
    set_blocks(o->family[KIND_BLOCKS]);
    for (int k = 0; k < KIND_COUNT; k++) {
        o->sorted_file[k] = sorted_file_options(o->family[k]);
    }
}

void store_options_init(struct engine_options *o, uint64_t memory_bytes)
{
    *o = (struct engine_options){.env = rocksdb_create_default_env()};
    /* Compaction yields to the loops: lowest CPU and I/O priority. Flushes keep theirs, writes wait for them. */
    rocksdb_env_lower_thread_pool_cpu_priority(o->env);
    rocksdb_env_lower_thread_pool_io_priority(o->env);
    o->cache =
        rocksdb_cache_create_lru(clamp(memory_bytes - memory_bytes / 4, 4 * MIB, UINT64_MAX));
    init_families(o, memory_bytes);
    o->write = rocksdb_writeoptions_create();
    o->write_sync = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(o->write_sync, 1);
    o->read = rocksdb_readoptions_create();
    o->flush = rocksdb_flushoptions_create();
    rocksdb_flushoptions_set_wait(o->flush, 1);
    o->ingest = rocksdb_ingestexternalfileoptions_create();
    rocksdb_ingestexternalfileoptions_set_move_files(o->ingest, 1);
    o->envopt = rocksdb_envoptions_create();
}

void store_options_fini(struct engine_options *o)
{
    if (o->env == NULL) {
        return;
    }
    rocksdb_envoptions_destroy(o->envopt);
    rocksdb_ingestexternalfileoptions_destroy(o->ingest);
    rocksdb_flushoptions_destroy(o->flush);
    rocksdb_readoptions_destroy(o->read);
    rocksdb_writeoptions_destroy(o->write_sync);
    rocksdb_writeoptions_destroy(o->write);
    for (int k = 0; k < KIND_COUNT; k++) {
        rocksdb_options_destroy(o->sorted_file[k]);
        rocksdb_options_destroy(o->family[k]);
    }
    rocksdb_cache_destroy(o->cache);
    rocksdb_env_destroy(o->env);
    *o = (struct engine_options){0};
}
