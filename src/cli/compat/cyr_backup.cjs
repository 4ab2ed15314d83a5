#!/usr/bin/env node
'use strict';
require('../launch.cjs').launch('cyr_backup', __filename);
