import type { LogEntry } from '@topk-attention/nn';
import type { StoredRun } from './checkpoints.js';
import type { Failure } from './failures.js';
import type { Settings } from './settings.js';

/** What the page asks of the worker. */
export type Request =
  /** Answered by `stored`. */
  | { readonly type: 'look' }
  /** A new run; the one stored before is gone. */
  | { readonly type: 'start'; readonly settings: Settings; readonly text: string }
  /** Goes on with the stored run, from its last checkpoint. */
  | { readonly type: 'continue' }
  | { readonly type: 'pause' }
  /** Answered by `exported`, or by `failed`. */
  | { readonly type: 'export' }
  /** Removes the stored run. Answered by `stored`. */
  | { readonly type: 'discard' };

/** What the worker tells the page. */
export type Report =
  | { readonly type: 'stored'; readonly run: StoredRun | undefined }
  | {
      readonly type: 'ready';
      readonly device: string;
      readonly parameters: number;
      readonly characters: number;
    }
  | { readonly type: 'logged'; readonly entry: LogEntry; readonly memory: string }
  | { readonly type: 'sampled'; readonly step: number; readonly text: string }
  | { readonly type: 'saved'; readonly step: number }
  /** The run stopped; its last state is saved. */
  | { readonly type: 'paused' | 'finished'; readonly step: number }
  /** `step` is that of the last checkpoint, -1 if there is none. */
  | { readonly type: 'failed'; readonly failure: Failure; readonly step: number }
  | { readonly type: 'exported'; readonly step: number; readonly bytes: Uint8Array<ArrayBuffer> };
