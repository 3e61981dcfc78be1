import { attentionCases } from './attention-cases.js';
import { cpuTf } from './engines.js';

attentionCases(cpuTf);
