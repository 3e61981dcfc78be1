import type { LastingEngine } from '../lasting-engine.js';
import { type Job, measure, refusalOf } from './measure.js';
import type { BenchRow } from './result.js';

export interface JobOptions {
  /** Timed passes; the median counts. */
  readonly rounds: number;
  /** A way stops at the size after which a pass took longer, in seconds. */
  readonly most: number;
  /** Codes of errors that are the row's reason instead of being thrown. Default: those of what does not fit. */
  readonly refusals?: readonly string[];
  /** Rows of an earlier call, which are not measured again. */
  readonly known?: readonly BenchRow[];
  readonly signal: AbortSignal;
  readonly onJob?: (job: Job, at: number) => void;
  /** All rows so far, after each. */
  readonly onRow?: (rows: readonly BenchRow[]) => void;
}

/**
 * Measures jobs in their order, which goes from small to large: the larger sizes of a way that has failed or become too
 * slow are left out. What does not fit is a row that says why; the jobs after it run on a new engine if it ended this one.
 *
 * @throws the signal's reason; what a pass throws, unless its code is a refusal
 */
export async function runJobs(
  engine: LastingEngine,
  jobs: readonly Job[],
  { rounds, most, refusals, known = [], signal, onJob, onRow }: JobOptions,
): Promise<readonly BenchRow[]> {
  const rows: BenchRow[] = [];
  const stopped = new Set<string>();
  for (const [at, job] of jobs.entries()) {
    signal.throwIfAborted();
    const line = `${job.way} ${job.direction}`;
    if (stopped.has(line)) continue;
    onJob?.(job, at);
    const row = known.find((one) => isOf(one, job)) ?? (await rowOf(engine, job, rounds, refusals));
    rows.push(row);
    if (row.milliseconds === undefined || row.milliseconds > 1000 * most) stopped.add(line);
    // What was measured so far is not lost with a later failure.
    onRow?.(rows);
  }
  return rows;
}

async function rowOf(
  engine: LastingEngine,
  job: Job,
  rounds: number,
  refusals: readonly string[] | undefined,
): Promise<BenchRow> {
  const { backend } = await engine.current();
  try {
    return await measure(backend, job, rounds);
  } catch (error) {
    const { way, x, direction } = job;
    const refused = refusalOf(error, refusals);
    await engine.failed(error);
    return { way, x, direction, refused };
  }
}

function isOf(row: BenchRow, { way, x, direction }: Job): boolean {
  return row.way === way && row.x === x && row.direction === direction;
}
