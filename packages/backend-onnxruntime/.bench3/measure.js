import { checkRows } from './oracle.js';
import { spread } from './setup.js';
/** Timed chunks of each method: at least 16, in groups, so that methods can take turns. */
const GROUPS = 4;
const CHUNKS_PER_GROUP = 4;
/**
 * Chunks whose scores take more than this are left out of the search for the best one: all methods are resident while
 * they take turns, and some have their scores twice. It leaves 256 queries at 131,072 keys, where dense attention is 1.6
 * times as fast as with 64, and 512 no faster (137 and 137 ms per 64 queries).
 */
const LARGEST_SCORES = 1.6 * 2 ** 30;
/** Time per query of the method with this chunk, from a few chunks. */
async function probe(method, setup, data) {
    const runner = await method.create(setup, data);
    const starts = spread(setup.length, setup.chunk, CHUNKS_PER_GROUP);
    // As many chunks as are timed: fewer may take another session, and the timed one would still have to get its memory.
    await runner.run(starts);
    const { runMilliseconds } = await runner.run(starts);
    await runner.close();
    return runMilliseconds / (starts.length * setup.chunk);
}
/**
 * The one of these chunks with the least time per query. All are tried, and those near the best are tried twice
 * more, in turns: on a shared machine one bad moment must not decide.
 */
export async function bestChunk(method, setup, data, chunks) {
    const fitting = chunks.filter((chunk) => chunk <= setup.length && method.scoreBytes(setup.length, chunk) <= LARGEST_SCORES);
    const [only, ...others] = fitting;
    if (only === undefined)
        throw new Error(`${method.name}: no chunk of ${chunks} fits ${setup.length} keys`);
    if (others.length === 0)
        return only;
    const times = new Map();
    for (let round = 0; round < 3; round++) {
        const best = Math.min(...times.values());
        for (const chunk of fitting) {
            const before = times.get(chunk) ?? Number.POSITIVE_INFINITY;
            if (round > 0 && before > 1.4 * best)
                continue;
            times.set(chunk, Math.min(before, await probe(method, { ...setup, chunk }, data)));
        }
    }
    const [[best] = [only]] = [...times].sort(([, a], [, b]) => a - b);
    return best;
}
/** Checks every method against float64, then times them in turns (A B C A B C ...): the machine's mood hits all alike. */
export async function timeMethods(list, data, rounds) {
    const entries = [];
    for (const { method, setup } of list) {
        const starts = spread(setup.length, setup.chunk, GROUPS * CHUNKS_PER_GROUP);
        const groups = Array.from({ length: GROUPS }, (_, group) => starts.filter((_start, index) => index % GROUPS === group));
        const runner = await method.create(setup, data);
        const [first = []] = groups;
        const { output } = await runner.run(first);
        const queries = first.flatMap((start) => Array.from({ length: setup.chunk }, (_, row) => start + row));
        const error = checkRows(method.name, data, output, queries, method.usesK ? setup.k : undefined);
        entries.push({
            method,
            setup,
            runner,
            groups,
            best: groups.map(() => Number.POSITIVE_INFINITY),
            call: Number.POSITIVE_INFINITY,
            error,
        });
    }
    for (let round = 0; round < rounds; round++) {
        for (let group = 0; group < GROUPS; group++) {
            for (const entry of entries) {
                const starts = entry.groups[group];
                const { runMilliseconds, callMilliseconds } = await entry.runner.run(starts);
                const perQuery = runMilliseconds / (starts.length * entry.setup.chunk);
                entry.best[group] = Math.min(entry.best[group], perQuery);
                entry.call = Math.min(entry.call, callMilliseconds);
            }
        }
    }
    for (const { runner } of entries)
        await runner.close();
    return entries.map(({ method, setup, best, call, error }) => ({
        method: method.name,
        length: setup.length,
        k: setup.k,
        chunk: setup.chunk,
        microsecondsPerQuery: 1000 * (best.reduce((sum, one) => sum + one, 0) / best.length + call / setup.length),
        error,
    }));
}
//# sourceMappingURL=measure.js.map