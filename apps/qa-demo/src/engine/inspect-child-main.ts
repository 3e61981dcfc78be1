import { serveParent } from '@topk-attention/app-kit/node';
import { inspectModel } from './inspect-model.js';
import type { InspectContract } from './inspect-protocol.js';

// The main module of the process that `inspectInChild` starts.

await serveParent<InspectContract>({ inspect: inspectModel });
