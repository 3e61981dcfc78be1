import type { Answer, AnswerRequest, EngineInfo, EngineSettings } from '../engine/types.js';
import type { ErrorReport } from '../output/errors.js';

/** From the command to its child process. */
export type ToChild =
  | { readonly type: 'open'; readonly settings: EngineSettings }
  | { readonly type: 'answer'; readonly request: AnswerRequest };

/** From a child process to its command. */
export type FromChild =
  | { readonly type: 'opened'; readonly info: EngineInfo }
  | { readonly type: 'started'; readonly promptTokens: number; readonly known: number }
  | {
      readonly type: 'progress';
      readonly stage: string;
      readonly done: number;
      readonly total: number;
    }
  | { readonly type: 'text'; readonly piece: string }
  | { readonly type: 'answered'; readonly answer: Answer }
  | { readonly type: 'failed'; readonly error: ErrorReport };
