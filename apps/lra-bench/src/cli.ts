#!/usr/bin/env node
import { runMain } from '@topk-attention/app-kit/node';
import { nodeHost } from './node-host.js';
import { createProgram } from './program.js';

await runMain((io) => createProgram(io, nodeHost));
