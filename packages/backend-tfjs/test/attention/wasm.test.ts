import { attentionCases } from '../support/attention-cases.js';
import { wasmTf } from '../support/engines.js';

attentionCases(wasmTf);
