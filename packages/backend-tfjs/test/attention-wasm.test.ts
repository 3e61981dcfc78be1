import { attentionCases } from './attention-cases.js';
import { wasmTf } from './engines.js';

attentionCases(wasmTf);
