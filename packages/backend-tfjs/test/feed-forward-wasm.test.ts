import { wasmTf } from './engines.js';
import { testFeedForward } from './feed-forward-cases.js';

testFeedForward(await wasmTf(), 'wasm');
