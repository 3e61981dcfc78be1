import type { BackendInfo } from '@topk-attention/app-kit';
import type {
  Cluster,
  Inspection,
  Intervention,
  ValueHit,
  ValueName,
  ValueVector,
} from '@topk-attention/models/inspect';
import type { EngineSettings, Kept, Progress } from './protocol.js';

// What the command `inspect` and its process say to each other. All of it is plain data.

/** What to look at. */
export interface InspectRequest {
  readonly prompt: string;
  readonly target?: string;
  readonly stack: 'encoder' | 'decoder';
  readonly layers?: readonly number[];
  readonly position?: number;
  readonly interventions: readonly Intervention[];
  /** Words whose value vectors to find; none for no search. */
  readonly search: readonly string[];
  readonly values: readonly ValueName[];
  /** How many clusters of value vectors to make; none without. */
  readonly clusters?: { readonly count: number; readonly seed: number };
  /** Tokens, units and hits. */
  readonly top: number;
  readonly attentionK: Kept;
  readonly feedForwardK: Kept;
}

/** What was seen. */
export interface Inspected {
  readonly plain: Inspection;
  /** With the interventions, if there are any. */
  readonly changed?: Inspection;
  readonly values?: readonly ValueVector[];
  readonly hits?: readonly ValueHit[];
  /** Those of the value vectors that were asked for, or else all. */
  readonly clusters?: readonly Cluster[];
}

export interface InspectResult {
  readonly inspected: Inspected;
  readonly info: BackendInfo;
}

/** One call: it opens a model, looks into it and closes it. */
export interface InspectContract {
  readonly inspect: {
    readonly argument: { readonly settings: EngineSettings; readonly request: InspectRequest };
    readonly result: InspectResult;
    readonly event: Progress;
  };
}
