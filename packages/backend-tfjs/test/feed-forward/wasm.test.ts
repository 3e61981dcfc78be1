import { wasmTf } from '../support/engines.js';
import { testFeedForward } from '../support/feed-forward-cases.js';

testFeedForward(await wasmTf(), 'wasm');
