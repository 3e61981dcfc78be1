import { describeConformance } from '../src/index.js';
import { createArrayBackend } from './example/array-backend.js';

await describeConformance({
  name: 'the backend of docs/write-a-backend.md',
  createBackend: createArrayBackend,
});
