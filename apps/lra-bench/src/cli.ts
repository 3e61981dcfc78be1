#!/usr/bin/env node
import { runMain } from '@topk-attention/app-kit/node';
import { createProgram } from './program.js';

await runMain(createProgram);
