import { join } from 'node:path';
import { median } from '@topk-attention/app-kit';
import { peakBytes } from '@topk-attention/app-kit/node';
import { readMetrics } from './metrics.js';
import { type RunResult, readSessions, runFiles, writeJson } from './run-folder.js';
import type { RunOptions } from './run-options.js';

/** Notes the most bytes that the session at work has used so far, so that a later one knows. */
export function notePeak(folder: string, deviceBytes: RunOptions['deviceBytes']): void {
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

/** What a run took, all of its sessions together: one that is resumed just before its end makes few steps, or none. */
export function costOf(folder: string): Pick<RunResult, 'stepMs' | 'peakBytes' | 'peakOf'> {
  const sessions = readSessions(folder);
  const peakOf = sessions.at(-1)?.peakOf ?? 'process';
  const peaks = sessions.map((one) => (one.peakOf === peakOf ? (one.peakBytes ?? 0) : 0));
  const times = readMetrics(folder).flatMap(({ step_ms: ms }) => (ms === undefined ? [] : [ms]));
  return { stepMs: median(times), peakBytes: Math.max(0, ...peaks), peakOf };
}
