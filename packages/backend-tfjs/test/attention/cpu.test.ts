import { attentionCases } from '../support/attention-cases.js';
import { cpuTf } from '../support/engines.js';

attentionCases(cpuTf);
