import { join } from 'node:path';
import { median } from '@topk-attention/app-kit';
import { peakBytes } from '@topk-attention/app-kit/node';
import { readMetrics } from './metrics.js';
import { type RunResult, readSessions, runFiles, writeJson } from './run-folder.js';
import type { RunOptions } from './run-options.js';

/** Notes the most bytes that the session at work has used so far, so that a later one knows. */
function notePeak(folder: string, deviceBytes: RunOptions['deviceBytes']): void {
  const sessions = readSessions(folder);
  const peak = {
    peakBytes: deviceBytes?.() ?? peakBytes(),
    peakOf: deviceBytes === undefined ? ('process' as const) : ('device' as const),
  };
  const last = sessions.at(-1);
  if (last === undefined) return;
  writeJson(join(folder, runFiles.environment), {
    sessions: [...sessions.slice(0, -1), { ...last, ...peak }],
  });
}

/** The same of a session that fails: what ended it counts more than a peak that cannot be noted, as on a full disk. */
export function notePeakOfFailed(folder: string, deviceBytes: RunOptions['deviceBytes']): void {
  try {
    notePeak(folder, deviceBytes);
  } catch {
    // Its peak is unknown, as that of a session that was killed.
  }
}

/**
 * What a run took at its end, all of its sessions together: one that is resumed just before makes few steps, or none. Notes
 * the peak of this one.
 */
export function costOf(
  folder: string,
  deviceBytes: RunOptions['deviceBytes'],
): Pick<RunResult, 'stepMs' | 'peakBytes' | 'peakOf'> {
  notePeak(folder, deviceBytes);
  const sessions = readSessions(folder);
  const peakOf = sessions.at(-1)?.peakOf ?? 'process';
  const peaks = sessions.map((one) => (one.peakOf === peakOf ? (one.peakBytes ?? 0) : 0));
  const times = readMetrics(folder).flatMap(({ step_ms: ms }) => (ms === undefined ? [] : [ms]));
  return { stepMs: median(times), peakBytes: Math.max(0, ...peaks), peakOf };
}
