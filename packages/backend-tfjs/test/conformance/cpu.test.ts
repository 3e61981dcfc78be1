import { describeConformance } from '@topk-attention/conformance';
import { createTfjsBackend } from '../../src/index.js';
import { cpuTf } from '../support/engines.js';

const tf = await cpuTf();

await describeConformance({
  name: 'tfjs, cpu',
  createBackend: () => createTfjsBackend({ tf, engine: 'cpu' }),
});
